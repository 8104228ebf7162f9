"""kinelite data check SPEC, kinelite data stats SPEC"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.config import SplitConfig
from kinelite.errors import UsageError, unknown

ACTIONS = {"check": "find clips that cannot be used", "stats": "counts, lengths, sizes, codecs"}


@dataclass(frozen=True)
class DataFlags:
    """Look at a set of clips.

    Example: kinelite data check folder:clips/
    """

    spec: Annotated[str, tyro.conf.Positional]
    """Set of clips, such as folder:clips/ or csv:labels.csv."""
    workers: int = 2
    """Threads that decode."""
    split: SplitConfig = field(default_factory=SplitConfig)


def main(args: list[str]) -> dict[str, Any]:
    """Choose the action and run it."""
    if not args or args[0] in ("-h", "--help"):
        lines = "\n".join(f"  kinelite data {name} SPEC   {text}" for name, text in ACTIONS.items())
        print(f"usage:\n{lines}\n\nExample: kinelite data check folder:clips/")
        if not args:
            raise UsageError("check or stats?")
        return {}
    if args[0] not in ACTIONS:
        raise unknown("action", args[0], ACTIONS, "kinelite data --help")
    flags = parse(DataFlags, f"kinelite data {args[0]}", args[1:])
    return check(flags) if args[0] == "check" else stats(flags)


def check(flags: DataFlags) -> dict[str, Any]:
    """Name every clip that cannot be used, and why; exit code 4 when there is one."""
    from kinelite.data.check import check_manifest
    from kinelite.data.sets import load_set

    manifest = load_set(flags.spec, flags.split)
    print(
        f"Checking {len(manifest.rows)} clips of '{flags.spec}' with {flags.workers} threads: "
        "first, middle and last frame."
    )
    with _bar("clips checked") as tick:
        problems = check_manifest(manifest, flags.workers, tick)
    for note in manifest.notes:
        print(f"  {note}")
    for problem in problems:
        print(f"{problem.level}: {problem.path}: {problem.reason}")
    errors = [p for p in problems if p.level == "error"]
    notes = len(problems) - len(errors)
    print(
        f"{len(errors)} problems and {notes} notes in {len(manifest.rows)} clips. "
        f"Next: kinelite data stats {flags.spec}"
    )
    rows = [{"path": p.path, "reason": p.reason, "level": p.level} for p in problems]
    return {"clips": len(manifest.rows), "problems": rows, "errors": len(errors), "exit_code": 4 if errors else 0}


def stats(flags: DataFlags) -> dict[str, Any]:
    """Describe the set."""
    from kinelite.data.check import stats as describe
    from kinelite.data.sets import load_set

    manifest = load_set(flags.spec, flags.split)
    print(f"Reading {len(manifest.rows)} clips of '{flags.spec}' (packets only, nothing is decoded).")
    with _bar("clips read") as tick:
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


class _bar:
    """A progress bar on standard error, where someone is watching."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __enter__(self) -> Callable[[int, int], None]:
        from rich.console import Console
        from rich.progress import Progress

        self.progress = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self.progress.start()
        task = self.progress.add_task(self.title, total=None)
        return lambda done, total: self.progress.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
