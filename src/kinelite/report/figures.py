"""Figures of records as SVG text for a page: no file, no global state, colours left to the page's light or dark theme.

Lines are drawn in the colours of a light page, which become the CSS variables ``--c0`` to ``--c7``; text and axes take
``currentColor``. Drawn into files they keep the colours of a light page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kinelite.records import EvalRecord
from kinelite.report.load import Run
from kinelite.report.tables import group_runs

By = Literal["epoch", "time"]
Points = list[tuple[float, float]]
PALETTE = ("#2563b0", "#c2410c", "#15803d", "#9333a8", "#0e7490", "#a16207", "#be185d", "#4b5563")
"""Those of a light page (page.css)."""
COLOURS = len(PALETTE)
INK = "#0a0b0c"
MAX_POINTS = 300
MAX_CELL_TEXT = 12
MAX_CLASS_LABELS = 40
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Curve:
    """One line of a figure."""

    points: Points
    colour: int
    label: str | None
    """In the legend; None for further runs of the same group."""
    stages: tuple[tuple[float, str], ...] = ()
    """(where it starts, its name) of each stage after the first."""


def accuracy_figure(runs: Sequence[Run], by: By) -> str:
    """Validation top-1 (percent) over epochs or training time; empty text when no run was evaluated on the way."""
    return _curve_figure(runs, by, "eval", "top1", 100, "Validation top-1 (%)")


def loss_figure(runs: Sequence[Run], by: By) -> str:
    """Training loss over epochs (means) or training time; empty text when no run logged any."""
    return _curve_figure(runs, by, "step", "loss", 1, "Training loss")


def _curve_figure(runs: Sequence[Run], by: By, event: str, name: str, factor: float | int, label: str) -> str:
    unit_s, unit = (1.0, "") if by == "epoch" else _time_unit(runs)
    lines = []
    groups = [group for group in group_runs(runs) if any(run.metrics for run in group)]
    recipes = [group[0].recipe for group in groups]
    for colour, group in enumerate(groups):
        shared = group[0].recipe if recipes.count(group[0].recipe) == 1 else group[0].name
        for i, run in enumerate(group):
            points = [(x / unit_s, y * factor) for x, y in series(run.metrics, event, name, by)]
            stages = tuple((x / unit_s, stage) for x, stage in stage_starts(run.metrics, by)) if i == 0 else ()
            title = run.name if len(group) == 1 else f"{shared} ({len(group)} runs)"
            lines.append(Curve(points, colour, None if i else title, stages))
    across = "Epoch" if by == "epoch" else f"Training time ({unit})"
    return draw_curves([line for line in lines if line.points], across, label)


def series(metrics: Iterable[dict[str, Any]], event: str, name: str, by: By) -> Points:
    """(x, value) of all rows of one event that hold a number, averaged where x repeats, and thinned to 300 points.

    x is the number of epochs done, counted on over stages, or the training time in seconds. A step's row holds the
    epochs done before it and counts for the epoch that it is part of.
    """
    rows = list(metrics)
    before = _epochs_before(rows)
    sums: dict[float, list[float]] = {}
    for row in rows:
        x, value = _x(row, by, before), _number(row, name)
        if row.get("event") == event and x is not None and value is not None:
            sums.setdefault(x, []).append(value)
    points = [(x, sum(values) / len(values)) for x, values in sorted(sums.items())]
    step = -(-len(points) // MAX_POINTS) or 1
    chunks = [points[i : i + step] for i in range(0, len(points), step)]
    return [(sum(x for x, _ in c) / len(c), sum(y for _, y in c) / len(c)) for c in chunks]


def stage_starts(metrics: Iterable[dict[str, Any]], by: By) -> list[tuple[float, str]]:
    """(x, name) of every stage after the first."""
    rows = list(metrics)
    before = _epochs_before(rows)
    starts: list[tuple[float, str]] = []
    for row in rows:
        if row.get("event") != "stage" or not row.get("stage"):
            continue
        x = before.get(row["stage"]) if by == "epoch" else _number(row, "train_s")
        if x is not None:
            starts.append((x, str(row.get("stage_name", row["stage"]))))
    return starts


def _epochs_before(rows: Iterable[dict[str, Any]]) -> dict[Any, float]:
    """Stage -> epochs of the stages before it; epochs are counted from each stage's own beginning."""
    last: dict[Any, float] = {}
    for row in rows:
        stage = row.get("stage", 0)
        last[stage] = max(last.get(stage, 0.0), _epoch(row) or 0.0)
    before, total = {}, 0.0
    for stage in sorted(last, key=str):
        before[stage] = total
        total += last[stage]
    return before


def _x(row: dict[str, Any], by: By, before: dict[Any, float]) -> float | None:
    if by == "time":
        return _number(row, "train_s")
    epoch = _epoch(row)
    return None if epoch is None else before.get(row.get("stage", 0), 0.0) + epoch


def _epoch(row: dict[str, Any]) -> float | None:
    epoch = _number(row, "epoch")
    return epoch + 1 if epoch is not None and row.get("event") == "step" else epoch


def _number(row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _time_unit(runs: Iterable[Run]) -> tuple[float, str]:
    longest = max((_number(row, "train_s") or 0.0 for run in runs for row in run.metrics), default=0.0)
    return (3600.0, "h") if longest > 3 * 3600 else (60.0, "min") if longest > 300 else (1.0, "s")


def draw_curves(curves: Sequence[Curve], across: str, up: str) -> str:
    """Lines over one pair of axes, dotted verticals where stages begin; empty text for no curves."""
    if not curves:
        return ""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        axes = figure.subplots()
        for curve in curves:
            x, y = zip(*curve.points, strict=True)
            mark = "o" if len(x) < 60 else ""
            colour = colour_of(curve.colour)
            axes.plot(x, y, color=colour, label=clean(curve.label), lw=1.6, marker=mark, ms=3)
            _mark_stages(axes, curve)
        axes.set(xlabel=across, ylabel=up)
        axes.margins(x=0.03)
        axes.grid(axis="y", color=INK, alpha=0.12, lw=0.6)
        axes.set_xlim(left=0)
        if up.endswith("(%)"):
            axes.set_ylim(bottom=0)
        if across == "Epoch":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
        names = ", ".join(curve.label for curve in curves if curve.label)
        return to_svg(figure, f"{up} by {across[0].lower() + across[1:]}: {names}")


def _mark_stages(axes: Axes, curve: Curve) -> None:
    colour = colour_of(curve.colour)
    for x, name in curve.stages:
        axes.axvline(x, color=colour, lw=1, ls=":")
        where = axes.get_xaxis_transform()
        axes.annotate(clean(name) or "", (x, 1), (3, -2), where, "offset points", color=colour, va="top", fontsize=8)


def confusion_figure(record: EvalRecord, title: str) -> str:
    """Rows are labels, columns predictions, shade the share of the label's clips; counts in the cells of small sets.

    ``title`` names the run for those who cannot see the figure. Empty text when the record holds no matrix.
    """
    counts = record.confusion
    if not counts:
        return ""
    shares = [[n / max(sum(row), 1) for n in row] for row in counts]
    k = len(counts)
    side = min(2.4 + 0.32 * k, 7.0)
    with rc_context(STYLE):
        figure = Figure(figsize=(side + 0.4, side), layout="constrained")
        axes = figure.subplots()
        # One hue whose opacity is the share, so that the matrix stands on a light and on a dark page.
        shade = [[(0.2, 0.45, 0.8, 0.85 * share) for share in row] for row in shares]
        axes.imshow(shade, interpolation="nearest", aspect="equal")
        if k <= MAX_CELL_TEXT:
            for i, row in enumerate(counts):
                for j, n in enumerate(row):
                    if n:
                        axes.text(j, i, str(n), ha="center", va="center", fontsize=8)
        if k <= MAX_CLASS_LABELS:
            edges = [i - 0.5 for i in range(k + 1)]
            axes.hlines(edges, -0.5, k - 0.5, color=INK, alpha=0.12, lw=0.5)
            axes.vlines(edges, -0.5, k - 0.5, color=INK, alpha=0.12, lw=0.5)
        _name_axes(axes, record.classes, k)
        return to_svg(figure, f"Confusion matrix of {title}, {k} classes; rows are labels, columns predictions")


def _name_axes(axes: Axes, classes: Sequence[str], k: int) -> None:
    axes.set(xlabel="Predicted", ylabel="Label")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    if k > MAX_CLASS_LABELS:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    names = [clean(name, 22) or "" for name in [*classes, *map(str, range(len(classes), k))][:k]]
    axes.set_xticks(range(k), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(k), names, fontsize=8)


def clean(text: str | None, length: int = 40) -> str | None:
    """What an XML file can hold, in one line of bounded length; a leading underscore would hide a legend entry."""
    if text is None:
        return None
    text = " ".join(
        re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text).split()
    )
    text = "\N{ZERO WIDTH SPACE}" + text if text.startswith("_") else text
    return text if len(text) <= length else text[: length - 1] + "…"


def colour_of(number: int) -> str:
    """The colour of a group of runs or of a column, as drawn."""
    return PALETTE[number % COLOURS]


def to_file(figure: Figure, kind: Literal["svg", "png"], alt: str = "", **how: Any) -> bytes:
    """The content of an image file of ``figure``, 144 dots per inch."""
    buffer = io.BytesIO()
    about = {"Date": None} if kind == "svg" else {"Software": None}
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": alt}):
        # Text stays text, so it is the reader's browser that needs the glyph and not the font that measures it here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(buffer, format=kind, dpi=144, metadata=about, **how)
    return buffer.getvalue()


def to_svg(figure: Figure, alt: str, tips: Sequence[str] = ()) -> str:
    """The figure as an SVG element for HTML: no fixed size, no outside reference, described by ``alt``.

    Artists whose gid is ``tip-N`` become points that a reader can ask for, with the N-th of ``tips`` as their text.
    """
    return to_inline(to_file(figure, "svg", alt).decode(), alt, tips)


def to_inline(svg: str, alt: str, tips: Sequence[str] = ()) -> str:
    """The content of an SVG file of ours as that element."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg, count=2)
    view = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg {view.group() if view else ""} role="img" aria-label="{escape(clean(alt, 400) or "")}">'
    return head + _themed(_with_tips(svg[svg.index(">") + 1 :], tips))


def _with_tips(svg: str, tips: Sequence[str]) -> str:
    def point(found: re.Match[str]) -> str:
        return f'<g class="point"><title>{escape(tips[int(found.group(1))])}</title>'

    return re.sub(r'<g id="tip-(\d+)">', point, svg)


def _themed(svg: str) -> str:
    for number, colour in enumerate(PALETTE):
        svg = svg.replace(colour, f"var(--c{number})")
    referenced = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found.group() if found.group(1) in referenced else "", svg)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg).replace(" xlink:href=", " href=")
    return svg.replace(INK, "currentColor")
