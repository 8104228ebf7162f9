"""kinelite data stats SPEC"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.commands.progress import bar
from kinelite.config import SplitConfig


@dataclass(frozen=True)
class StatsFlags:
    """Describe a set of clips.

    Example: kinelite data stats folder:clips/
    """

    spec: Annotated[str, tyro.conf.Positional]
    """Set of clips, such as folder:clips/ or csv:labels.csv."""
    workers: int = 2
    """Threads that decode."""
    split: SplitConfig = field(default_factory=SplitConfig)


def main(args: list[str]) -> dict[str, Any]:
    """Parse and run."""
    return run(parse(StatsFlags, "kinelite data stats", args))


def run(flags: StatsFlags) -> dict[str, Any]:
    """Describe the set."""
    from kinelite.data.check import stats as describe
    from kinelite.data.sets import load_set

    manifest = load_set(flags.spec, flags.split)
    print(f"Reading {len(manifest.rows)} clips of '{flags.spec}' (packets only, nothing is decoded).")
    with bar("clips read") as tick:
        found = describe(manifest, flags.workers, tick)
    _print_stats(found)
    print(f"Next: kinelite train sfa --data {flags.spec}")
    return found


def _print_stats(found: dict[str, Any]) -> None:
    for name in ("clips", "files", "unreadable", "splits", "seconds", "frames", "sizes", "fps", "codecs"):
        value = found[name]
        text = ", ".join(f"{k} {_short(v)}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name:11} {text}")
    for task, classes in found["classes"].items():
        print(f"{task}s:")
        for label, counts in classes.items():
            print(f"  {label:24} " + ", ".join(f"{count} {split}" for split, count in counts.items()))
    for note in found["notes"]:
        print(note)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
