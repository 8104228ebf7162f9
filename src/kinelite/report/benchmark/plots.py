"""Which figures there are: those of the lightweight paper, of published and of measured records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from kinelite.records import REFERENCE, BenchRecord
from kinelite.report.benchmark.columns import Column
from kinelite.report.benchmark.compared import Point, accuracy_points, best, gmacs, own_points
from kinelite.report.benchmark.content import PAPER_MODES, Content, Quoted, relatives
from kinelite.report.benchmark.draw import Dot, Plot, Series
from kinelite.report.benchmark.load import CONVERGENCE, MODES
from kinelite.report.benchmark.measured import ordered

MAX_CLOUDS = 12
"""Figures of latency against accuracy; with more settings than that the rest is left to the table."""


def make_plots(content: Content) -> list[Plot]:
    """All figures that have something to show."""
    plots = [make(content, mode) for mode in MODES for make in (relative_plot, latency_plot, memory_plot)]
    plots += [convergence_plot(content), *(cost_plot(content, mode) for mode in PAPER_MODES)]
    plots += [*accuracy_plots(content), *own_plots(content)]
    return [shown for plot in plots if plot is not None and (shown := _positive(plot)).series]


def _positive(plot: Plot) -> Plot:
    """Without what has no place on a logarithmic axis, and without columns that are empty then."""
    kept = [
        replace(series, dots={m: dot for m, dot in series.dots.items() if dot.x > 0 and (dot.y > 0 or not plot.log_up)})
        for series in plot.series
    ]
    return replace(plot, series=[series for series in kept if series.dots])


def relative_plot(content: Content, mode: str) -> Plot | None:
    """Figures 2 to 5 of the paper."""
    columns, quoted = content.of_mode(mode), [q for q in content.quoted if q.mode == mode]
    series = [_series(c, c.relative, lambda c, m, x: f"{x:.2f} x, {_spread(c, m)}") for c in columns]
    series += [_quoted(q, q.relative, " x") for q in quoted]
    return _dots(
        f"relative-{mode}",
        f"{MODES[mode]}: relative latency",
        f"Latency over that of {REFERENCE}",
        series,
        columns,
        quoted,
    )


def latency_plot(content: Content, mode: str) -> Plot | None:
    """Figures 8 to 11; lines reach from p10 to p90."""
    columns = content.of_mode(mode)
    series = []
    for column in columns:
        dots = {m: _latency_dot(column, m, ms) for m in column.entries if (ms := column.call_ms(m)) is not None}
        series.append(Series(column.label, dots))
    batches = {column.batch for column in columns}
    across = "Latency, ms" + (f" per {batches.pop()} clips" if len(batches) == 1 and batches != {1} else "")
    return _dots(f"latency-{mode}", f"{MODES[mode]}: latency", across, series, columns, [])


def _latency_dot(column: Column, model: str, ms: float) -> Dot:
    record = column.entries[model].newest
    assert record is not None
    factor = column.batch / (record.batch or 1)
    low, high = (None if v is None else v * factor for v in (record.latency_ms_p10, record.latency_ms_p90))
    return Dot(ms, tip=f"{ms:.4g} ms, {_spread(column, model)}", low=low, high=high)


def _spread(column: Column, model: str) -> str:
    record = column.entries[model].newest
    if record is None:
        return column.label
    low, high = record.latency_ms_p10, record.latency_ms_p90
    ends = "" if low is None or high is None else f"p10 to p90 {low:.4g} to {high:.4g} ms; "
    notes = "; ".join(["", *record.notes])
    return f"{ends}{record.runs or '?'} calls at batch {record.batch or '?'}; {column.label}{notes}"


def memory_plot(content: Content, mode: str) -> Plot | None:
    """Memory of Table 2 beside ours."""
    columns, quoted = content.of_mode(mode), [q for q in content.quoted if q.mode == mode]
    kinds = {"cuda": "allocated", "rss": "process"}

    def peak(column: Column) -> Callable[[str], float | None]:
        return lambda model: (record := column.entries[model].newest) and record.peak_memory_gib

    series = []
    for column in columns:
        made = _series(column, peak(column), lambda c, m, x: f"{x:.2f} GiB, {c.label}")
        kind = next((r.memory_kind for e in column.entries.values() if (r := e.newest) and r.peak_memory_gib), "")
        series.append(Series(f"{column.label}: {kinds.get(kind, 'peak')}", made.dots))
    if not any(s.dots for s in series):
        return None
    series += [_quoted(q, q.memory_gib, " G of VRAM") for q in quoted]
    return _dots(f"memory-{mode}", f"{MODES[mode]}: peak memory", "Peak memory, GiB", series, columns, quoted)


def _series(column: Column, value: Callable[[str], float | None], tip: Callable[[Column, str, float], str]) -> Series:
    dots = {m: Dot(x, tip=tip(column, m, x)) for m in column.entries if (x := value(m)) is not None}
    return Series(column.label, dots)


def _quoted(quote: Quoted, values: Mapping[str, float], unit: str) -> Series:
    dots = {m: Dot(x, tip=f"{x:g}{unit}, published: {quote.label}, {quote.source}") for m, x in values.items()}
    return Series(f"published: {quote.label}", dots, published=True)


def _dots(
    name: str, title: str, across: str, series: list[Series], columns: list[Column], quoted: list[Quoted]
) -> Plot | None:
    shown = [one for one in series if one.dots]
    rows = [m for m in ordered(columns, quoted) if any(m in one.dots for one in shown)]
    return Plot(name, title, across, "", shown, rows) if shown else None


def convergence_plot(content: Content) -> Plot | None:
    """Table 5 as a figure: latency times epochs, published epochs with our latencies too."""
    published = [r for r in content.published if r.mode == CONVERGENCE and "epochs" in r.figures]
    epochs = {r.model: float(r.figures["epochs"]) for r in published}
    columns = content.of_mode("train")
    series = []
    for column in columns:
        values = {m: x * epochs[m] for m, x in relatives(column).items() if m in epochs}
        dots = {m: Dot(x, tip=f"{x:.1f}: {x / epochs[m]:.2f} times {epochs[m]:g} epochs, {column.label}")
                for m, x in values.items()}  # fmt: skip
        series.append(Series(column.label, dots))
    series.append(Series("published", {r.model: _product(r) for r in published}, published=True))
    quoted = [q for q in content.quoted if q.mode == "train"]
    across = "Relative training latency times epochs on ssv2"
    return _dots("latency-epochs", "Training until convergence", across, series, columns, quoted)


def _product(record: BenchRecord) -> Dot:
    value = float(record.figures["latency_epochs"])
    return Dot(value, tip=f"{value:g}: {record.relative_latency} times {record.figures['epochs']} epochs, published")


def cost_plot(content: Content, mode: str) -> Plot | None:
    """Figure 7: operations against latency; the dashed line is what operations alone make one expect."""
    counted = gmacs(content)
    base = counted.get(REFERENCE)
    series = []
    for column in content.of_mode(mode):
        dots = {m: Dot(counted[m], y, f"{counted[m]:.4g} GMACs, {y:.2f} x, {column.label}")
                for m, y in relatives(column).items() if m in counted}  # fmt: skip
        series.append(Series(column.label, dots))
    for quote in (q for q in content.quoted if q.mode == mode and counted):
        dots = {m: Dot(counted[m], y, f"{counted[m]:.4g} GMACs (ours), {y:.2f} x, published: {quote.label}")
                for m, y in quote.relative.items() if m in counted}  # fmt: skip
        series.append(Series(f"published: {quote.label}", dots, published=True))
    shown = [one for one in series if one.dots]
    if not shown:
        return None
    return Plot(
        f"gmacs-{mode}", f"{MODES[mode]}: operations against latency", "GMACs of a clip",
        f"Latency over that of {REFERENCE}", shown, log_up=True, expected=_expected(shown, base),
    )  # fmt: skip


def _expected(series: list[Series], base: float | None) -> tuple[Point, Point] | None:
    """The line of latency in proportion to operations, through the reference; it ends where the points do."""
    dots = [dot for one in series for dot in one.dots.values()]
    end = min(max(dot.x for dot in dots), (base or 0) * max(dot.y for dot in dots))
    return ((base, 1.0), (end, end / base)) if base and end > base else None


def accuracy_plots(content: Content) -> list[Plot]:
    """Figure 6, once with published latencies and once per setting; the line is the Pareto front."""
    plots = []
    for number, (name, points) in enumerate(list(accuracy_points(content).items())[:MAX_CLOUDS]):
        quoted = name == "published"
        across = f"Mean relative latency of {', '.join(PAPER_MODES)}" if quoted else "Mean relative latency"
        dots = {m: Dot(x, y, f"{x:.2f} x, {y:.2f}, {name}") for m, (x, y) in points.items()}
        plots.append(_cloud(
            f"accuracy-{number}", f"Latency against accuracy, {name}", across, "Normalised accuracy, ssv2 and epic100",
            Series(name, dots, quoted), points,
        ))  # fmt: skip
    return plots


def own_plots(content: Content) -> list[Plot]:
    """Top-1 of the user's own runs against milliseconds of a single clip."""
    plots = []
    for number, (name, points) in enumerate(list(own_points(content).items())[:MAX_CLOUDS]):
        dots = {m: Dot(x, y, f"{x:.4g} ms, {y:.1f} %, {name}") for m, (x, y) in points.items()}
        title = f"Own runs: {name}"
        plots.append(
            _cloud(f"own-{number}", title, "Latency of a single clip, ms", "Top-1, %", Series(name, dots), points)
        )
    return plots


def _cloud(name: str, title: str, across: str, up: str, series: Series, points: dict[str, Point]) -> Plot:
    corners = sorted(points[model] for model in best(points))
    right = max(x for x, _ in points.values())
    line = [*corners, (right, corners[-1][1])]
    return Plot(name, title, across, up, [series], front=line)
