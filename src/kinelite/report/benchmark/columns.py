"""What is comparable stands in one column: one device, precision, compilation, threads, input, batch and versions."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from kinelite.records import REFERENCE, BenchRecord
from kinelite.report.benchmark.load import MODES, clip_ms, latency_ms

LIBRARIES = ("torch", "kinelite", "onnxruntime", "executorch", "coremltools")
"""Versions that make figures incomparable."""
TOLERANCE = 0.10
"""By how much relative latencies of two runs may differ before that is flagged."""


@dataclass(frozen=True)
class Setting:
    """What two measurements must share beside mode and batch to be compared."""

    device_name: str
    device: str
    precision: str
    compiled: bool
    threads: int | None
    frames: int | None
    size: int | None
    versions: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Processor, runtime, precision, compilation, threads."""
        device = short_device(self.device_name)
        runtime = "" if self.device.split(":")[0] in ("cpu", "cuda", "mps", self.device_name) else self.device
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}" if self.threads else ""
        parts = (device, runtime, self.precision, "compiled" if self.compiled else "", threads)
        return ", ".join(part for part in parts if part)

    def details(self) -> list[str]:
        """What the name leaves out, said only where two settings have one name."""
        shape = f"{self.frames} x {self.size} px" if self.frames and self.size else ""
        versions = dict(self.versions)
        said = [f"{name} {versions[name]}" if name in versions else "" for name in LIBRARIES]
        return [shape, *said, self.device, self.device_name]


def setting_of(record: BenchRecord) -> Setting:
    """Where and how a record was measured."""
    kind = record.device.split(":")[0]
    said = record.environment.get("cuda" if kind == "cuda" else "cpu")
    versions = [(name, str(record.environment[name])) for name in LIBRARIES if record.environment.get(name)]
    return Setting(
        record.device_name or str(said or record.device or "unnamed device"),
        record.device,
        record.precision,
        record.compiled,
        None if kind in ("cuda", "mps") else record.threads,
        record.frames,
        record.size,
        tuple(versions),
    )


def short_device(name: str) -> str:
    """A processor's name without marks and words that say nothing."""
    name = re.sub(r"\((R|TM|C)\)|@.*|\b(CPU|Processor|NVIDIA|GeForce|Tesla|\d+-Core)\b", "", name, flags=re.IGNORECASE)
    return " ".join(name.split()) or "device"


@dataclass(frozen=True)
class Entry:
    """All records of one model in one column, oldest first."""

    model: str
    measured: tuple[BenchRecord, ...]
    failures: tuple[BenchRecord, ...]

    @property
    def newest(self) -> BenchRecord | None:
        """The measurement that counts."""
        return self.measured[-1] if self.measured else None

    def before(self, back: int) -> BenchRecord | None:
        """The measurement so many before the newest; the oldest where there are no more."""
        return self.measured[-1 - min(back, len(self.measured) - 1)] if self.measured else None

    @property
    def failure(self) -> BenchRecord | None:
        """The newest failure, where there is no measurement or only older ones."""
        last = self.failures[-1] if self.failures else None
        return last if last and (self.newest is None or last.created > self.newest.created) else None


@dataclass(frozen=True)
class Column:
    """One mode in one setting at one asked batch."""

    setting: Setting
    mode: str
    batch: int
    """That was asked for; where a smaller one had to do, latency per clip decides."""
    entries: dict[str, Entry]
    label: str = ""

    @cached_property
    def reference(self) -> str | None:
        """MoViNet-A0 if it was measured here, by itself or in turn with another, else the fastest model."""
        known = {model: ms for model in self.entries if (ms := self.clip_ms(model))}
        if REFERENCE in known or any(e.newest and in_turn_ms(e.newest, REFERENCE) for e in self.entries.values()):
            return REFERENCE
        return min(known, key=lambda model: known[model], default=None)

    def reference_ms(self, back: int = 0) -> float | None:
        """Latency per clip of the reference in one run, the newest or so many before: the median of what it took in
        turn with each model and by itself. Each of these is a process, and processes of one model differ by as much
        as a third where memory is shared with others; their median does not."""
        if self.reference is None:
            return None
        records = [entry.measured[-1 - back] for entry in self.entries.values() if back < len(entry.measured)]
        found = [in_turn_ms(record, self.reference) for record in records]
        if own := self.entries.get(self.reference):
            found.append((record := own.before(back)) and clip_ms(record))
        known = [value for value in found if value is not None]
        return statistics.median(known) if known else None

    def clip_ms(self, model: str) -> float | None:
        """Latency per clip of the newest measurement."""
        newest = self.entries[model].newest if model in self.entries else None
        return None if newest is None else clip_ms(newest)

    def call_ms(self, model: str) -> float | None:
        """Latency of a call of the asked batch; where a smaller one had to do, in proportion to clips."""
        found = self.clip_ms(model)
        return None if found is None else found * self.batch

    def relative(self, model: str) -> float | None:
        """Latency over that of the reference in the same run, clip by clip."""
        own = self.clip_ms(model)
        return 1.0 if own and model == self.reference else _over(own, self.reference_ms())

    def repeats(self, model: str) -> list[float]:
        """Relative latency in each run, oldest first: the newest of a model belongs to the newest of the reference, the
        one before to the one before."""
        if model == self.reference or model not in self.entries:
            return []
        measured = self.entries[model].measured
        found = [_over(clip_ms(record), self.reference_ms(back)) for back, record in enumerate(reversed(measured))]
        return [value for value in reversed(found) if value is not None]


def in_turn_ms(record: BenchRecord, reference: str) -> float | None:
    """Latency per clip of ``reference`` where it was called in turn with the record's model."""
    found = record.figures.get("reference_ms") if record.figures.get("reference") == reference else None
    numbers = [value for value in found if isinstance(value, int | float)] if isinstance(found, list) else []
    return statistics.median(numbers) / (record.batch or 1) if numbers else None


def _over(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None


def apart(values: Sequence[float]) -> float | None:
    """By how much the largest exceeds the smallest, as a share; None for fewer than two values."""
    return max(values) / min(values) - 1 if len(values) > 1 and min(values) > 0 else None


def make_columns(records: Iterable[BenchRecord]) -> list[Column]:
    """Columns of all measured records, by mode, then in the order of first appearance; published ones take no part."""
    grouped: dict[tuple[str, Setting, int], dict[str, list[BenchRecord]]] = {}
    for record in _completed(r for r in records if not r.published and r.mode in MODES):
        key = (record.mode, setting_of(record), record.asked_batch or record.batch or 1)
        grouped.setdefault(key, {}).setdefault(record.model, []).append(record)
    names = _labels(list(dict.fromkeys(setting for _, setting, _ in grouped)))
    batches: dict[tuple[str, Setting], set[int]] = {}
    for mode, setting, batch in grouped:
        batches.setdefault((mode, setting), set()).add(batch)
    columns = []
    for mode in MODES:
        for (its, setting, batch), models in grouped.items():
            if its == mode:
                several = len(batches[mode, setting]) > 1
                label = names[setting] + (f", batch {batch}" if several else "")
                entries = {model: _entry(model, found) for model, found in models.items()}
                columns.append(Column(setting, mode, batch, entries, label))
    return columns


def _completed(records: Iterable[BenchRecord]) -> list[BenchRecord]:
    """A failure may be written before the device has said its name or its threads: it gets those of the measurements
    on the same kind of device, where they agree."""
    given = list(records)
    return [record if record.status == "ok" else _like_its_peers(record, given) for record in given]


def _like_its_peers(record: BenchRecord, others: Iterable[BenchRecord]) -> BenchRecord:
    where = (record.device, record.environment.get("cpu"))
    peers = [r for r in others if r.status == "ok" and (r.device, r.environment.get("cpu")) == where]
    names, threads = {r.device_name for r in peers}, {r.threads for r in peers}
    if not record.device_name and len(names) == 1:
        record = replace(record, device_name=names.pop())
    return replace(record, threads=threads.pop()) if record.threads is None and len(threads) == 1 else record


def _entry(model: str, records: Sequence[BenchRecord]) -> Entry:
    ordered = sorted(records, key=lambda record: record.created)
    measured = tuple(r for r in ordered if r.status == "ok" and latency_ms(r) is not None)
    return Entry(model, measured, tuple(r for r in ordered if r.status != "ok"))


def _labels(settings: Sequence[Setting]) -> dict[Setting, str]:
    """A name for each, all different: details are added where two would be called the same."""
    names = {setting: setting.name for setting in settings}
    for name in set(names.values()):
        alike = [setting for setting in settings if names[setting] == name]
        telling = [texts for texts in zip(*(s.details() for s in alike), strict=True) if len(set(texts)) > 1]
        for index, setting in enumerate(alike):
            names[setting] = ", ".join([name, *(texts[index] for texts in telling if texts[index])])
    used: dict[str, int] = {}
    for setting, name in names.items():
        used[name] = used.get(name, 0) + 1
        names[setting] = name if used[name] == 1 else f"{name} ({used[name]})"
    return names
