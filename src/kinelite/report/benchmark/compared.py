"""Tables that set latency beside something else: epochs, operations, accuracy, and the ratios of the paper's text."""

from __future__ import annotations

from collections.abc import Iterable

from kinelite.records import REFERENCE, BenchRecord
from kinelite.report.benchmark.accuracy import PAPER_SETS, Score, set_name, summary
from kinelite.report.benchmark.content import Content, relatives
from kinelite.report.benchmark.load import CONVERGENCE, COST, MODES
from kinelite.report.benchmark.measured import ordered
from kinelite.report.benchmark.pareto import front
from kinelite.report.benchmark.tables import EMPTY, Cell, Head, Table, number_cell

MODEL_INPUT = (16, 224)
"""Frames and pixels of the lightweight benchmark, at which operations are compared."""
Point = tuple[float, float]


def convergence_table(content: Content) -> Table | None:
    """Epochs to convergence, and relative training latency times epochs (Table 5)."""
    published = [r for r in content.published if r.mode == CONVERGENCE and "epochs" in r.figures]
    quoted = {r.model: float(r.figures["epochs"]) for r in published}
    products = {r.model: r.figures.get("latency_epochs") for r in published}
    columns = content.of_mode("train")
    sources = [("ssv2, published", quoted), *content.epochs.items()]
    heads = [Head("Epochs on ssv2", True), Head("Latency x epochs", True)]
    heads += [Head(f"Epochs on {data}, own runs") for data in content.epochs]
    heads += [Head(f"{c.label}: latency x epochs ({name})") for c in columns for name, _ in sources]
    models = dict.fromkeys([*quoted, *(m for values in content.epochs.values() for m in values)])
    rows = []
    for model in models:
        cells = [number_cell(quoted.get(model), 0), number_cell(products.get(model), 1)]
        cells += [number_cell(values.get(model), 0) for values in content.epochs.values()]
        cells += [_product(relatives(c).get(model), epochs.get(model)) for c in columns for _, epochs in sources]
        rows.append((model, cells))
    about = (
        "Relative latency of a training step times epochs: how long training takes until it converges, in epochs of "
        f"{REFERENCE}. Own epochs are those with the best validation accuracy."
    )
    return Table("latency-epochs", "Training until convergence", about, heads, rows) if rows else None


def _product(latency: float | None, epochs: float | None) -> Cell:
    return EMPTY if latency is None or epochs is None else number_cell(latency * epochs, 1)


def gmacs(content: Content) -> dict[str, float]:
    """Model -> GMACs of a clip of 16 frames and 224 pixels, from the newest record that has them."""
    comparable = (r for r in _records(content) if (r.frames, r.size) == MODEL_INPUT and r.mode != "stream")
    counted = sorted((r for r in comparable if r.gmacs is not None), key=lambda r: r.created)
    return {record.model: record.gmacs for record in counted if record.gmacs is not None}


def _records(content: Content) -> Iterable[BenchRecord]:
    for column in content.columns:
        for entry in column.entries.values():
            yield from (*entry.measured, *entry.failures)


def cost_table(content: Content) -> Table | None:
    """Parameters and GMACs beside the paper's, and what they would make one expect of latency."""
    counted = gmacs(content)
    own = {r.model: r.params_m for r in _records(content) if r.params_m is not None}
    quoted = {r.model: r.params_m for r in content.published if r.mode == COST and r.params_m is not None}
    trained = content.quote("train")
    base = counted.get(REFERENCE)
    heads = [Head("Parameters, M", True), Head("Parameters, M"), Head("Difference"), Head("GMACs")]
    heads += [Head(f"GMACs over {REFERENCE}"), Head("Training latency", True)]
    ranked = list(trained.relative) if trained else []
    models: dict[str, None] = dict.fromkeys([*ranked, *quoted, *own, *counted])
    rows = []
    for model in models:
        cells = [number_cell(quoted.get(model), 1), number_cell(own.get(model), 2)]
        cells.append(_difference(own.get(model), quoted.get(model)))
        cells.append(number_cell(counted.get(model), 2))
        cells.append(number_cell(counted[model] / base if base and model in counted else None, 1))
        cells.append(number_cell(trained.relative.get(model) if trained else None))
        rows.append((model, cells))
    about = (
        "GMACs are 10^9 multiply-accumulates of one clip of 16 frames and 224 pixels. Our parameters count the classes "
        "of the measurement, the paper's are those of Table 4a."
    )
    return Table("cost", "Parameters and operations", about, heads, rows) if rows else None


def _difference(own: float | None, quoted: float | None) -> Cell:
    if own is None or not quoted:
        return EMPTY
    share = round(100 * (own / quoted - 1), 1) + 0.0
    return Cell(f"{share:+.1f} %", share)


def accuracy_points(content: Content) -> dict[str, dict[str, Point]]:
    """Name of a latency -> model -> (mean relative latency over the paper's modes, normalised accuracy): the paper's
    Figure 6, for published latencies and for each setting."""
    paper, own = summary(content.paper), summary(content.own)
    points = {}
    for setting in (None, *content.settings):
        latency, modes = content.overall(setting)
        accuracy = own if setting and own else paper
        both = {m: (latency[m], accuracy[m]) for m in latency if m in accuracy}
        if len(both) > 1:
            name = f"{content.label(setting)}, mean of {', '.join(modes)}" if setting else "published"
            points[name] = both
    return points


def own_points(content: Content) -> dict[str, dict[str, Point]]:
    """'DATA on COLUMN' -> model -> (ms of a single clip, top-1 in per cent) of the user's own runs, in every setting
    that a single clip was measured in."""
    points = {}
    for data, scores in content.own.items():
        for column in content.of_mode("single"):
            known = {m: ms for m in scores if (ms := column.clip_ms(m)) is not None}
            if known:
                points[f"{data} on {column.label}"] = {m: (ms, 100 * scores[m].top1) for m, ms in known.items()}
    return points


def best(points: dict[str, Point]) -> list[str]:
    """The Pareto front: no other model is both faster and more accurate."""
    return front({model: (latency, -accuracy) for model, (latency, accuracy) in points.items()})


def accuracy_table(content: Content) -> Table | None:
    """Published and own accuracies, their normalised mean, mean latencies; models on a Pareto front are marked."""
    points = accuracy_points(content)
    normalised, own = summary(content.paper), summary(content.own)
    sets = [data for data in PAPER_SETS if content.paper.get(data)]
    heads, columns = [], []
    for data in sets:
        heads.append(Head(f"{data} top-1, %", True))
        columns.append({m: _score_cell(score) for m, score in content.paper[data].items()})
        tasks = dict.fromkeys(t for score in content.paper[data].values() for t in score.tasks)
        for task in tasks:
            heads.append(Head(f"{data} {task}, %", True))
            columns.append({m: number_cell(_percent(s.tasks.get(task)), 1) for m, s in content.paper[data].items()})
    heads.append(Head("Normalised mean of ssv2 and epic100", True))
    columns.append({m: number_cell(value) for m, value in normalised.items()})
    for data, scores in content.own.items():
        heads.append(Head(f"{set_name(data)} top-1, %, own"))
        columns.append({m: number_cell(100 * s.top1, 1, notes=[] if s.source == "own run" else [s.source]) for m, s in
                        scores.items()})  # fmt: skip
    if own:
        heads.append(Head("Normalised mean, own"))
        columns.append({m: number_cell(value) for m, value in own.items()})
    for name, found in points.items():
        heads.append(
            Head(f"Latency, {'mean of train, batch, single' if name == 'published' else name}", name == "published")
        )
        on_front = set(best(found))
        columns.append({m: _front_cell(found[m][0], m in on_front) for m in found})
    models = dict.fromkeys([*ordered(content.columns, content.quoted), *(m for column in columns for m in column)])
    rows = [(model, [column.get(model, EMPTY) for column in columns]) for model in models]
    rows = [row for row in rows if any(cell is not EMPTY for cell in row[1])]
    about = (
        "The normalised mean is the paper's: per set 0 for the worst model and 1 for the best, averaged over ssv2 and "
        "epic100. *: on the Pareto front of that latency and this mean; no other model is both faster and better."
    )
    return Table("accuracy", "Latency against accuracy", about, heads, rows) if rows else None


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _score_cell(score: Score) -> Cell:
    return number_cell(100 * score.top1, 1, notes=[score.message] if score.message else [])


def _front_cell(value: float, on_front: bool) -> Cell:
    return Cell(f"{value:.2f} *" if on_front else f"{value:.2f}", value, kind="best" if on_front else "")


def ratios_table(content: Content) -> Table:
    """What the paper's text says of the spread between models, beside the same of our columns."""
    heads = [Head("Where"), Head("Paper", True), Head("Source", True), Head("Measured"), Head("Models")]
    rows = [row for record in content.published if (row := _operations(content, record)) is not None]
    for mode, title in MODES.items():
        name = f"{title}, slowest over fastest"
        for quote in (q for q in content.quoted if q.mode == mode and q.relative):
            largest = number_cell(max(quote.relative.values()))
            cells = [Cell(quote.label), largest, Cell(quote.source), EMPTY, _ends(quote.relative)]
            rows.append((name, cells))
        for record in _alone(content, mode):
            cells = [Cell(record.device), number_cell(record.relative_latency), Cell(record.source or "")]
            rows.append((name, [*cells, EMPTY, Cell(record.model)]))
        for column in content.of_mode(mode):
            values = relatives(column)
            if len(values) > 1:
                measured = number_cell(max(values.values()) / min(values.values()))
                rows.append((name, [Cell(column.label), EMPTY, EMPTY, measured, _ends(values)]))
    about = "How far apart the fastest and the slowest model are, in figures of the paper's text and tables."
    return Table("ratios", "Ratios", about, heads, rows, first="Ratio")


def _operations(content: Content, record: BenchRecord) -> tuple[str, list[Cell]] | None:
    least = record.figures.get("gmacs_over_movinet_a0_at_least")
    if least is None:
        return None
    counted = gmacs(content)
    both = record.model in counted and REFERENCE in counted
    ours = counted[record.model] / counted[REFERENCE] if both else None
    quoted = [Cell(f"> {least:g}", float(least)), Cell(record.source or "")]
    return "Operations", [EMPTY, *quoted, number_cell(ours, 1), Cell(f"{record.model} over {REFERENCE}")]


def _alone(content: Content, mode: str) -> list[BenchRecord]:
    """Published relative latencies of a single model, which make no column."""
    in_columns = {id(record) for quote in content.quoted for record in quote.records.values()}
    found = [r for r in content.published if r.mode == mode and r.relative_latency is not None]
    return [record for record in found if id(record) not in in_columns]


def _ends(values: dict[str, float]) -> Cell:
    return Cell(f"{max(values, key=lambda m: values[m])} over {min(values, key=lambda m: values[m])}")
