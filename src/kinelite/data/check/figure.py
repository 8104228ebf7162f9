"""The picture of a set: how many clips each class has, how long they are, how large and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kinelite.data.check.look import Look
from kinelite.data.check.stats import in_words

MAX_NAMED = 30
"""Classes whose names are written; more stand as a curve of sizes."""
MAX_KINDS = 8
SPLITS = {"train": "#3b6fb6", "val": "#e08a2e", "test": "#4a9d6e"}
OTHER = "#7a7a7a"
INK = "#222222"
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


def draw_stats(folder: Path, found: dict[str, Any], looks: Sequence[Look]) -> list[Path]:
    """Write stats.png and stats.svg below ``folder``; ``found`` is what `kinelite.data.check.stats.describe` gave."""
    import warnings

    tasks = list(found["classes"])
    named = [len(found["classes"][task]) for task in tasks if len(found["classes"][task]) <= MAX_NAMED]
    height = 2.6 + max(2.6, 0.6 + 0.2 * max(named, default=0))
    with rc_context(STYLE), warnings.catch_warnings():
        # A class name in a script that the font lacks is drawn as boxes, which is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure = Figure(figsize=(9, height), layout="constrained", facecolor="white")
        figure.suptitle(_title(found), x=0.01, ha="left", fontsize=11)
        halves: Any = figure.subfigures(2, 1, height_ratios=[height - 2.6, 2.6])
        upper, lower = halves
        for axes, task in zip(upper.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            _classes(axes, task, found["classes"][task])
        across = lower.subplots(1, 3)
        seconds = [look.facts.seconds for look in looks if look.facts]
        _lengths(across[0], seconds)
        short_sides = [float(min(look.facts.width, look.facts.height)) for look in looks if look.facts]
        _sizes(across[1], found["sizes"], short_sides)
        _kinds(across[2], "Frames per second", found["fps"])
        paths = [folder / "stats.png", folder / "stats.svg"]
        for path in paths:
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def _title(found: dict[str, Any]) -> str:
    splits = ", ".join(f"{count:,} {split}" for split, count in found["splits"].items())
    splits = f" ({splits})" if len(found["splits"]) > 1 else ""
    name = found["name"] if len(found["name"]) <= 48 else "…" + found["name"][-47:]
    return f"{name}: {found['clips']:,} clips{splits}, {in_words(found)}"


def _classes(axes: Axes, task: str, classes: dict[str, dict[str, int]]) -> None:
    """Clips per class, largest first, stacked by split: named bars, or the sizes alone of many classes."""
    order = sorted(classes, key=lambda name: -sum(classes[name].values()))
    places = range(len(order))
    splits = list(next(iter(classes.values()), {}))
    before = [0] * len(order)
    named = len(order) <= MAX_NAMED
    for split in splits:
        counts = [classes[name][split] for name in order]
        bar: dict[str, Any] = {"color": SPLITS.get(split, OTHER), "label": split or "no split"}
        if named:
            axes.barh(places, counts, left=before, height=0.75, **bar)
        else:
            axes.bar(places, counts, bottom=before, width=1.0, **bar)
        before = [a + b for a, b in zip(before, counts, strict=True)]
    title = "Clips per class" if task == "label" else f"Clips per {task}"
    axes.set_title(f"{title} ({len(order)} classes)")
    axes.margins(x=0.01 if not named else 0.05, y=0.01 if named else 0.05)
    if named:
        axes.set_yticks(places, [_short(name) for name in order], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("clips")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    else:
        axes.set(xlabel="classes, largest first", ylabel="clips")
    if len(splits) > 1:
        # Above the axes, where no bar reaches.
        axes.legend(frameon=False, fontsize=8, ncols=len(splits), loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)


def _lengths(axes: Axes, seconds: Sequence[float]) -> None:
    axes.set_title("Length (seconds)")
    if not seconds:
        _nothing(axes)
        return
    _histogram(axes, seconds)
    # A few hour-long files would squeeze all others into one bar.
    if max(seconds) > 50 * sorted(seconds)[len(seconds) // 2]:
        axes.set_yscale("log")


def _sizes(axes: Axes, counts: dict[str, int], short_sides: Sequence[float]) -> None:
    """The usual sizes, or, where no eight of them cover half of the clips, how the short sides are spread."""
    if sum(sorted(counts.values())[-MAX_KINDS:]) >= 0.5 * sum(counts.values()):
        _kinds(axes, "Frame size (pixels)", counts)
        return
    axes.set_title(f"Short side (pixels; {len(counts)} sizes)")
    _histogram(axes, short_sides)


def _histogram(axes: Axes, values: Sequence[float]) -> None:
    axes.hist(values, bins=min(30, max(5, round(len(values) ** 0.5))), color=SPLITS["train"])
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylabel("clips")


def _kinds(axes: Axes, title: str, counts: dict[str, int]) -> None:
    """The most frequent values with their number of clips, and the rest as one bar."""
    axes.set_title(title)
    if not counts:
        _nothing(axes)
        return
    top = dict(list(counts.items())[:MAX_KINDS])
    if rest := sum(counts.values()) - sum(top.values()):
        top[f"{len(counts) - len(top)} others"] = rest
    bars = axes.barh(range(len(top)), list(top.values()), height=0.7, color=SPLITS["train"])
    axes.bar_label(bars, [f"{n:,}" for n in top.values()], padding=2, fontsize=8)
    axes.set_yticks(range(len(top)), list(top))
    # Room for four at least: one bar alone would be a block.
    axes.set_ylim(max(len(top), 4) - 0.5, -0.5)
    axes.margins(x=0.18)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel("clips")


def _nothing(axes: Axes) -> None:
    axes.set_axis_off()
    axes.text(0.0, 0.9, "no clip can be read", transform=axes.transAxes, fontsize=9)


def _short(name: str, length: int = 34) -> str:
    text = " ".join(name.split())
    return text if len(text) <= length else text[: length - 1] + "…"
