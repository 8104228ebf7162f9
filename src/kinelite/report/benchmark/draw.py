"""Figures of measurements: dots per model, and clouds of two figures; each as SVG for the page and as files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from kinelite.report.benchmark.labels import place_labels
from kinelite.report.figures import INK, STYLE, clean, colour_of, to_file, to_inline

MARKERS = "osv^DP*X"
WIDTH_IN = 4.5
MAX_LEGEND = 46
DODGE = 0.6
"""Of the height of a row that the columns share."""
GREY = "#808890"
"""Of published figures; it stands on a light and on a dark page."""


@dataclass(frozen=True)
class Dot:
    """One figure of one model."""

    x: float
    y: float = 0.0
    """Only in a cloud."""
    tip: str = ""
    low: float | None = None
    """Ends of a range, such as p10 and p90."""
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Dots of one column, by model."""

    label: str
    dots: Mapping[str, Dot]
    published: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure before it is drawn."""

    name: str
    """Of its files."""
    title: str
    across: str
    up: str
    """Empty: one row per model, in the order of ``rows``."""
    series: Sequence[Series]
    rows: Sequence[str] = ()
    log_up: bool = False
    front: Sequence[tuple[float, float]] = ()
    """Corners of a line through the Pareto front of a cloud."""
    expected: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Ends of a dashed line."""
    about: str = ""


@dataclass(frozen=True)
class Drawn:
    """A figure as text for the page and as content of files."""

    plot: Plot
    inline: str
    svg: bytes = field(repr=False)
    png: bytes = field(repr=False)


def draw(plot: Plot) -> Drawn:
    """Draw a figure once for the page and for files."""
    tips: list[str] = []
    with rc_context(STYLE):
        height = 3.6 if plot.up else 0.9 + 0.235 * len(plot.rows)
        legend = len(plot.series) > 1
        figure = Figure(figsize=(WIDTH_IN, height + 0.19 * len(plot.series) * legend), layout="constrained")
        axes = figure.subplots()
        _scales(axes, plot)
        for number, series in enumerate(plot.series):
            _draw_series(axes, plot, series, number, tips)
        _log(axes, "x")
        if plot.log_up:
            _log(axes, "y")
        if plot.up:
            _draw_lines(axes, plot)
            dots = [(dot.x, dot.y) for series in plot.series for dot in series.dots.values()]
            place_labels(figure, axes, plot_labels(plot), dots, plot.front)
        if legend:
            figure.legend(loc="outside lower left", ncols=1, frameon=False, fontsize=8, handletextpad=0.3)
        names = ", ".join(series.label for series in plot.series)
        alt = f"{plot.title}: {plot.up + ' against ' if plot.up else ''}{plot.across}; {names}"
        svg = to_file(figure, "svg", alt)
        figure.set_layout_engine("none")  # laid out already; again would be a fifth of the page's time
        on_white = svg.replace(b"<svg ", b'<svg style="background: white" ', 1)
        return Drawn(plot, to_inline(svg.decode(), alt, tips), on_white, to_file(figure, "png", facecolor="white"))


def _scales(axes: Axes, plot: Plot) -> None:
    axes.set_xlabel(plot.across)
    axes.grid(axis="x", color=INK, alpha=0.12, lw=0.6)
    if not plot.up:
        axes.set_yticks(range(len(plot.rows)), [clean(row, 26) or "" for row in plot.rows])
        axes.set_ylim(len(plot.rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.hlines(range(len(plot.rows)), 0, 1, transform=axes.get_yaxis_transform(), color=INK, alpha=0.08, lw=0.6)
        return
    axes.set_ylabel(plot.up)
    axes.grid(axis="y", color=INK, alpha=0.12, lw=0.6)


def _log(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    # Labels of a wide range would run into each other.
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = (axes.get_xlim if which == "x" else axes.get_ylim)()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0, 3.0) if decades < 3.5 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw_series(axes: Axes, plot: Plot, series: Series, number: int, tips: list[str]) -> None:
    colour = GREY if series.published else colour_of(number)
    marker = "D" if series.published else MARKERS[number % len(MARKERS)]
    how: dict[str, Any] = {"marker": marker, "ls": "", "color": colour, "ms": 5.5, "mew": 1.2}
    if series.published:
        how["mfc"] = "none"
    axes.plot([], [], label=clean(series.label, MAX_LEGEND), **how)
    # Columns lie a little apart within a row, so that none hides another.
    apart = DODGE * (number - (len(plot.series) - 1) / 2) / len(plot.series)
    rows = {model: index + apart for index, model in enumerate(plot.rows)}
    for model, dot in series.dots.items():
        y = dot.y if plot.up else rows[model]
        if dot.low is not None and dot.high is not None:
            axes.plot([dot.low, dot.high], [y, y], color=colour, lw=1.2, alpha=0.5)
        axes.plot([dot.x], [y], gid=f"tip-{len(tips)}", **how)
        tips.append(clean(f"{model}: {dot.tip}", 200) or "")


def _draw_lines(axes: Axes, plot: Plot) -> None:
    if plot.front:
        x, y = zip(*plot.front, strict=True)
        axes.plot(x, y, color=INK, lw=1, alpha=0.5, drawstyle="steps-post", zorder=1)
    if plot.expected:
        (x0, y0), (x1, y1) = plot.expected
        axes.plot([x0, x1], [y0, y1], color=INK, lw=1, alpha=0.5, ls="--", zorder=1)


def plot_labels(plot: Plot) -> dict[str, tuple[float, float]]:
    """Model -> the point that its name stands at: its first one."""
    found: dict[str, tuple[float, float]] = {}
    for series in plot.series:
        for model, dot in series.dots.items():
            found.setdefault(model, (dot.x, dot.y))
    return found
