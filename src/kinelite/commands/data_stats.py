"""kinelite data stats SPEC"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.commands.data_check import check_effort, remembered, shown, where
from kinelite.commands.progress import bar
from kinelite.config import SplitConfig
from kinelite.errors import UsageError
from kinelite.records import cores


@dataclass(frozen=True)
class StatsFlags:
    """Describe a set of clips: counts, lengths, sizes, rates, codecs and classes.

    Example: kinelite data stats folder:clips/ --out stats/
    """

    spec: Annotated[str, tyro.conf.Positional]
    """Set of clips, such as folder:clips/ or csv:labels.csv, or a folder of videos."""
    out: Path | None = None
    """Folder for stats.json, stats.csv (a line per clip), stats.png and stats.svg."""
    all: bool = False
    """Print all classes, sizes and rates."""
    limit_s: float = 60.0
    """Seconds for one clip, after which it counts as unreadable."""
    workers: int = -1
    """Processes that read (-1: one per core, 0: none of their own, and then no time limit)."""
    split: SplitConfig = field(default_factory=SplitConfig)


def main(args: list[str]) -> dict[str, Any]:
    """Parse and run."""
    return run(parse(StatsFlags, "kinelite data stats", args))


def run(flags: StatsFlags) -> dict[str, Any]:
    """Describe the set."""
    check_effort(flags.workers, flags.limit_s)
    if flags.out is not None and flags.out.is_file():
        raise UsageError(f"--out {flags.out} is a file; give a folder, such as --out stats/.")
    from kinelite.data.check.stats import describe, look_over, write_stats
    from kinelite.data.sets import load_any

    manifest = load_any(flags.spec, flags.split)
    workers = cores() if flags.workers < 0 else flags.workers
    print(f"Reading the packets of {len(manifest.rows)} clips of '{flags.spec}' {where(workers, flags.limit_s)}.")
    with remembered(flags.spec, None, fresh=False) as journal, bar("clips read") as tick:
        looks = look_over(manifest, workers, tick, flags.limit_s, journal)
    found = describe(manifest, looks)
    _print(found, flags.all)
    if found["unreadable"]:
        print(f"{found['unreadable']} clips cannot be read. Why: kinelite data check {shlex.quote(flags.spec)}")
    if flags.out is not None:
        paths = write_stats(flags.out, found, manifest, looks)
        found["out"] = [str(path) for path in paths]
        print(f"Written: {', '.join(map(str, paths))}")
    trainable = "train" in found["splits"] and len(manifest.classes) > 1
    print(f"Next: kinelite {'train sfa --data' if trainable else 'data check'} {shlex.quote(flags.spec)}")
    return found


FEW = 6
"""Sizes, rates and codecs that are shown."""
FEW_CLASSES = 20
"""Classes that are shown: of more, the largest and the smallest."""


def _print(found: dict[str, Any], everything: bool) -> None:
    """Tables that fit on 80 columns."""
    from rich.console import Console

    from kinelite.data.check.stats import in_words

    console = Console(highlight=False, width=None, soft_wrap=False)
    lines = {
        "clips": f"{found['clips']:,} in {found['files']:,} files, {in_words(found)}",
        "splits": ", ".join(f"{count:,} {split}" for split, count in found["splits"].items()),
        "seconds": _spread(found["seconds"]),
        "frames": _spread(found["frames"]),
        "short side": _spread(found["short_side"]),
        **{name: _kinds(found[name], everything) for name in ("sizes", "fps", "codecs", "containers")},
    }
    if found["absent"]:
        lines["absent"] = f"{found['absent']:,} clips of the lists are missing"
    _grid(console, lines)
    for task, classes in found["classes"].items():
        if len(classes) > 1:
            _classes(console, task, classes, found["balance"][task], everything)
    for note in found["notes"]:
        print(note)


def _grid(console: Any, lines: dict[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, text in lines.items():
        table.add_row(name, Text(shown(text)))
    console.print(table)


def _classes(console: Any, task: str, classes: dict[str, Any], balance: dict[str, Any], everything: bool) -> None:
    """A row per class, largest first, with a bar that shows its size."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    order = sorted(classes, key=lambda name: -sum(classes[name].values()))
    splits = list(next(iter(classes.values()), {}))
    most = max(1, balance["most"])
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("class" if task == "label" else task, overflow="ellipsis", no_wrap=True, max_width=38)
    for split in splits:
        table.add_column(split or "clips", justify="right")
    table.add_column("", no_wrap=True)
    for name in _chosen(order, everything):
        if name is None:
            table.add_row(Text(f"... {len(order) - FEW_CLASSES} more (--all)"))
            continue
        bar = "█" * round(20 * sum(classes[name].values()) / most)
        table.add_row(Text(shown(name)), *(f"{classes[name][split]:,}" for split in splits), bar)
    console.print(table)
    empty = f", {balance['empty']:,} without a clip" if balance["empty"] else ""
    fewest, largest = balance["fewest"], balance["most"]
    size = f"{largest:,} clips each" if fewest == largest else f"{fewest:,} to {largest:,} clips"
    print(
        f"{balance['classes']:,} classes of {size}{empty}. "
        f"Always naming the largest is right on {balance['largest_share']:.1%}."
    )


def _chosen(order: list[str], everything: bool) -> list[str | None]:
    if everything or len(order) <= FEW_CLASSES:
        return list(order)
    half = FEW_CLASSES // 2
    return [*order[:half], None, *order[-half:]]


def _spread(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.6g}" for name, value in values.items() if name != "total") or "none"


def _kinds(counts: dict[str, int], everything: bool) -> str:
    chosen = list(counts.items()) if everything else list(counts.items())[:FEW]
    text = ", ".join(f"{name} ({count:,})" for name, count in chosen)
    return text + (f", {len(counts) - FEW} more" if len(counts) > len(chosen) else "")
