"""Tables of what was measured: relative and absolute latency, memory, repeats, failures, and what each column is."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kinelite.records import REFERENCE, SHORTENED, BenchRecord
from kinelite.report.benchmark.columns import TOLERANCE, Column, apart
from kinelite.report.benchmark.content import Content, Quoted, relatives
from kinelite.report.benchmark.load import MODES
from kinelite.report.benchmark.tables import EMPTY, Cell, Head, Table, latency_cell, number_cell

MAX_REASON = 60
MEMORY = {
    "peak_memory_gib": {
        "cuda": "allocated", "rss": "process", "vram": "VRAM", "": "peak",
    },
    "reserved_memory_gib": "reserved",
    "tensors_gib": "tensors",
}  # fmt: skip
MEMORY_ABOUT = (
    "GiB at the peak of a call. Allocated and reserved: by PyTorch on the GPU. Process: resident set, libraries "
    "included. Tensors: largest sum of PyTorch's allocations on a CPU, weights included. The paper's VRAM is in its "
    "own 'G', on GPUs with mixed precision."
)


def relative_table(content: Content, mode: str) -> Table | None:
    """Latency over that of MoViNet-A0 (or the fastest) per column, published columns last; None without any."""
    columns, quoted = content.of_mode(mode), [q for q in content.quoted if q.mode == mode and q.relative]
    if not columns and not quoted:
        return None
    models = ordered(columns, quoted)
    heads = [Head(column.label) for column in columns] + [Head(f"{q.label}, {q.source}", True) for q in quoted]
    rows = []
    for model in models:
        own = [_relative_cell(column, model) for column in columns]
        rows.append((model, [*own, *(number_cell(q.relative.get(model)) for q in quoted)]))
    others = sorted({c.reference for c in columns if c.reference not in (None, REFERENCE)} - {None}, key=str)
    about = f"Latency per clip over that of {REFERENCE} in the same column (median of all its processes)"
    about += (
        f"; where that was not measured, over that of the fastest ({', '.join(map(str, others))})." if others else "."
    )
    return Table(f"relative-{mode}", f"{MODES[mode]}: relative latency", about, heads, rows)


def latency_table(content: Content, mode: str) -> Table | None:
    """Milliseconds of a call per column; None where nothing was measured."""
    columns = content.of_mode(mode)
    if not columns:
        return None
    heads = [Head(f"{c.label}, ms" + (f" per {c.batch} clips" if c.batch > 1 else "")) for c in columns]
    models = ordered(columns, [])
    rows = [(m, [_cell(c, m, lambda c, m, notes: latency_cell(c.call_ms(m), notes)) for c in columns]) for m in models]
    about = "Median of the calls that count; how far they spread stands in measurements.csv and at the points below."
    return Table(f"latency-{mode}", f"{MODES[mode]}: latency", about, heads, rows)


def memory_table(content: Content, mode: str) -> Table | None:
    """Peak memory per column and kind beside published VRAM; None without any figure of our own or published."""
    columns = content.of_mode(mode)
    quoted = [q for q in content.quoted if q.mode == mode and q.memory_gib]
    parts = [(column, name, kind) for column in columns for name, kind in _memory_kinds(column)]
    if not parts and not quoted:
        return None
    heads = [Head(f"{column.label}: {kind}") for column, _, kind in parts]
    heads += [Head(f"VRAM, {q.source}", True) for q in quoted]
    rows = []
    for model in ordered(columns, quoted):
        own = [_cell(c, model, _memory_of(name)) for c, name, _ in parts]
        rows.append((model, [*own, *(number_cell(q.memory_gib.get(model), 1) for q in quoted)]))
    return Table(f"memory-{mode}", f"{MODES[mode]}: peak memory", MEMORY_ABOUT, heads, rows)


def _memory_kinds(column: Column) -> list[tuple[str, str]]:
    """(field, its name) of the memory figures of a column."""
    records = [entry.newest for entry in column.entries.values() if entry.newest]
    found = []
    for name, kind in MEMORY.items():
        known = [record for record in records if getattr(record, name) is not None]
        if known:
            found.append((name, kind if isinstance(kind, str) else kind[known[0].memory_kind]))
    return found


def _memory_of(name: str) -> Callable[[Column, str, Iterable[str]], Cell]:
    def make(column: Column, model: str, notes: Iterable[str]) -> Cell:
        record = column.entries[model].newest
        value = getattr(record, name)
        return EMPTY if value is None else number_cell(value, 2, notes=[n for n in notes if "batch" in n])

    return make


def ordered(columns: Iterable[Column], quoted: Iterable[Quoted]) -> list[str]:
    """Models of columns, by the mean of their relative latencies; those without any last."""
    known: dict[str, list[float]] = {}
    for column in columns:
        for model in column.entries:
            known.setdefault(model, [])
        for model, value in relatives(column).items():
            known[model].append(value)
    for quote in quoted:
        for model, value in quote.relative.items():
            known.setdefault(model, []).append(value)
    return sorted(known, key=lambda m: (not known[m], statistics.geometric_mean(known[m] or [1.0]), m))


def _relative_cell(column: Column, model: str) -> Cell:
    def make(column: Column, model: str, notes: Iterable[str]) -> Cell:
        return number_cell(column.relative(model), notes=[*notes, *_repeat_notes(column, model)])

    return _cell(column, model, make)


def _repeat_notes(column: Column, model: str) -> list[str]:
    difference = apart(column.repeats(model))
    if difference is None or difference <= TOLERANCE:
        return []
    return [f"{model}: {len(column.repeats(model))} runs whose relative latencies lie {100 * difference:.0f} % apart"]


def _cell(column: Column, model: str, make: Callable[[Column, str, Iterable[str]], Cell]) -> Cell:
    """The measurement that counts with what has to be known of it, or the reason why there is none."""
    entry = column.entries.get(model)
    if entry is None:
        return EMPTY
    if entry.newest is not None:
        cell = make(column, model, entry_notes(column, model))
        doubtful = any(SHORTENED not in note for note in cell.notes)
        return Cell(cell.text, cell.value, cell.notes, "warn" if doubtful and not cell.kind else cell.kind)
    failure = entry.failure
    if failure is None:
        return EMPTY
    said = " ".join(failure.message.split())
    short = said if len(said) <= MAX_REASON else said[: MAX_REASON - 1] + "…"
    return Cell(f"{failure.status}: {short}" if said else failure.status, None, (said,) if short != said else (), "bad")


def entry_notes(column: Column, model: str) -> list[str]:
    """What a reader has to know of the measurement that counts."""
    entry = column.entries[model]
    record = entry.newest
    if record is None:
        return []
    notes = []
    if record.batch and record.batch != column.batch:
        notes.append(f"measured at batch {record.batch} of {column.batch}, compared clip by clip")
    notes += record.notes
    if entry.failure:
        notes.append(f"a later attempt ended with {entry.failure.status}: {entry.failure.message}")
    return notes


def repeats_table(content: Content) -> Table | None:
    """How far relative latencies of repeated measurements lie apart; None where nothing was repeated."""
    heads = [Head(text) for text in ("Mode", "Column", "Runs", "Lowest", "Highest", "Apart")]
    rows = []
    for column in content.columns:
        for model in column.entries:
            values = column.repeats(model)
            difference = apart(values)
            if difference is None:
                continue
            wide = difference > TOLERANCE
            cells = [Cell(MODES[column.mode]), Cell(column.label), number_cell(len(values), 0)]
            cells += [number_cell(min(values)), number_cell(max(values))]
            text = f"{100 * difference:.1f} %" + (" !" if wide else "")
            rows.append((model, [*cells, Cell(text, 100 * difference, kind="warn" if wide else "")]))
    if not rows:
        return None
    rows.sort(key=lambda row: -(row[1][-1].value or 0))
    flagged = sum(cells[-1].kind == "warn" for _, cells in rows)
    about = (
        f"Relative latency, measured more than once in the same column. {flagged} of {len(rows)} lie more than "
        f"{100 * TOLERANCE:.0f} % apart and are flagged (!)."
    )
    return Table("repeats", "Repeated measurements", about, heads, rows)


def failures_table(content: Content) -> Table | None:
    """Every attempt that gave no figure; None where there is none."""
    heads = [Head(text) for text in ("Mode", "Column", "Batch", "Status", "Reason", "Since measured", "When")]
    rows = []
    for column in content.columns:
        for entry in column.entries.values():
            for record in entry.failures:
                cells = [Cell(MODES[column.mode]), Cell(column.label), number_cell(record.batch, 0)]
                later = "yes" if entry.newest and entry.newest.created >= record.created else "no"
                cells += [Cell(record.status, kind="bad"), Cell(record.message or "no reason given"), Cell(later)]
                rows.append((entry.model, [*cells, Cell(minutes(record.created))]))
    about = "Attempts that gave no figure: out of memory, unsupported, failed or stopped."
    return Table("failures", "Failures", about, heads, rows) if rows else None


def minutes(time: str) -> str:
    """'2026-01-31 12:00 UTC' of a record's time; other text as it is."""
    return f"{time[:10]} {time[11:16]} UTC" if time.endswith("+00:00") else time


def columns_table(content: Content) -> Table | None:
    """What each setting is: device, versions, protocol, dates."""
    names = ("Device", "Precision", "Threads", "Input", "Versions", "Machine", "Models per mode", "Measured")
    rows = []
    for setting in content.settings:
        columns = [column for column in content.columns if column.setting == setting]
        records = [r for c in columns for e in c.entries.values() for r in (*e.measured, *e.failures)]
        dates = sorted(record.created[:10] for record in records)
        texts = (
            f"{setting.device_name} ({setting.device})",
            setting.precision + (", compiled" if setting.compiled else ""),
            str(setting.threads or "–"),
            f"{setting.frames} x {setting.size} px" if setting.frames else "–",
            ", ".join(f"{name} {version}" for name, version in setting.versions) or "–",
            _machine(records[0].environment),
            "; ".join(f"{c.mode} {len(c.entries)} (batch {c.batch})" for c in columns),
            dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}",
        )
        rows.append((content.label(setting), [Cell(text) for text in texts]))
    heads = [Head(name) for name in names]
    about = "What differs in any of this is not put into one column; nor are batches that were asked for."
    return Table("columns", "What the columns are", about, heads, rows, first="Column") if rows else None


def _machine(environment: Mapping[str, Any]) -> str:
    cores, memory, where = (environment.get(name) for name in ("cores", "memory_gib", "platform"))
    parts = [f"{cores} cores" if cores else "", f"{memory} GiB" if memory else "", str(where or "")]
    return ", ".join(part for part in parts if part) or "–"


def measurements(content: Content) -> list[dict[str, Any]]:
    """One flat row per measurement that counts and per failure, for programs (measurements.csv)."""
    rows = []
    for column in content.columns:
        for entry in column.entries.values():
            record = entry.newest or entry.failure
            if record is not None:
                rows.append(_flat(column, record, len(entry.measured)))
    return rows


FLAT = (
    *("device", "device_name", "precision", "compiled", "threads", "frames", "size", "batch", "status", "message"),
    *("warmup", "runs", "latency_ms_mean", "latency_ms_median", "latency_ms_p10", "latency_ms_p90", "spread"),
    *("peak_memory_gib", "memory_kind", "reserved_memory_gib", "tensors_gib", "gmacs", "params_m", "weights_mib"),
    *("energy_j", "created", "command"),
)


def _flat(column: Column, record: BenchRecord, repeats: int) -> dict[str, Any]:
    row: dict[str, Any] = {"model": record.model, "mode": column.mode, "column": column.label}
    row |= {"asked_batch": column.batch, "relative_latency": column.relative(record.model), "repeats": repeats}
    row |= {name: getattr(record, name) for name in FLAT}
    return row | dict(column.setting.versions) | {"notes": "; ".join(record.notes)}
