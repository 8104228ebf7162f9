"""What is comparable stands in one column: one device, precision, compilation, threads, input, batch and versions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from kinelite.records import BenchRecord
from kinelite.report.benchmark.load import MODES, clip_ms, latency_ms

REFERENCE = "movinet_a0"
"""Latencies are relative to it, as in the lightweight paper, whose fastest model it is."""
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

    def in_turn(self, reference: str | None) -> float | None:
        """Latency of the newest over that of ``reference``, as far as that was called in turn with it."""
        return None if self.newest is None else in_turn(self.newest, reference)

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
        """MoViNet-A0 if it was measured here or in turn with all, else the fastest model."""
        known = {model: ms for model in self.entries if (ms := self.clip_ms(model))}
        if REFERENCE in known or (known and all(self.entries[model].in_turn(REFERENCE) for model in known)):
            return REFERENCE
        return min(known, key=lambda model: known[model], default=None)

    def clip_ms(self, model: str) -> float | None:
        """Latency per clip of the newest measurement."""
        newest = self.entries[model].newest if model in self.entries else None
        return None if newest is None else clip_ms(newest)

    def call_ms(self, model: str) -> float | None:
        """Latency of a call of the asked batch; where a smaller one had to do, in proportion to clips."""
        found = self.clip_ms(model)
        return None if found is None else found * self.batch

    def relative(self, model: str) -> float | None:
        """Latency over that of the reference: called in turn with it, or else clip by clip as measured here."""
        entry = self.entries.get(model)
        if entry and (found := entry.in_turn(self.reference)):
            return found
        return _over(self.clip_ms(model), self.clip_ms(self.reference) if self.reference else None)

    def repeats(self, model: str) -> list[float]:
        """Relative latency in each run, oldest first. Where the reference was not called in turn, the newest of a model
        belongs to the newest of the reference, the one before to the one before."""
        if self.reference is None or model not in self.entries:
            return []
        reference = self.entries[self.reference].measured if self.reference in self.entries else ()
        found = []
        for back, record in enumerate(reversed(self.entries[model].measured), start=1):
            other = reference[max(len(reference) - back, 0)] if reference else None
            found.append(in_turn(record, self.reference) or _over(clip_ms(record), other and clip_ms(other)))
        return [value for value in reversed(found) if value is not None]


def in_turn(record: BenchRecord, reference: str | None) -> float | None:
    """Latency over that of ``reference``, where that was called in turn with the record's model."""
    return record.relative_latency if reference and record.figures.get("reference") == reference else None


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
