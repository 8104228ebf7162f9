"""Latency, memory, accuracy and hours of each model on one device: measured where there are records, else predicted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kinelite.records import BenchRecord
from kinelite.report.benchmark.accuracy import Scores
from kinelite.report.benchmark.columns import Column, make_columns
from kinelite.report.benchmark.measured import entry_notes
from kinelite.report.published import published_epochs, published_memory_gib, published_relative
from kinelite.report.recommend.laws import Law, best_first, fit
from kinelite.report.recommend.request import BATCHES, CLIPS, Candidate, Figure, Request

PAPER = "Koot et al. 2021"
PASSES = {"train": 3, "batch": 1, "single": 1}
"""Operations of a call over those of a forward pass: a backward pass takes about twice as many."""


@dataclass(frozen=True)
class Rate:
    """Operations per second that a device is taken to reach."""

    flops_per_s: float
    why: str


@dataclass(frozen=True)
class Device:
    """Where the models are to run."""

    name: str
    records: Sequence[BenchRecord]
    """Of this device only."""
    rate: Rate | None = None
    """For a device that nothing was measured on."""
    here: str | None = None
    """What `kinelite bench --device` calls it; None: it is not a device of this machine."""


def estimate(
    models: Iterable[str], device: Device, request: Request, gmacs: Mapping[str, float], own: Scores, paper: Scores
) -> list[Candidate]:
    """What is known of each model. ``gmacs``: model -> 10^9 multiply-accumulates of a clip of the request's size."""
    names = list(models)
    now = _Mode(request.mode, device, request, gmacs)
    training = now if request.mode == "train" else _Mode("train", device, request, gmacs)
    found = []
    for model in names:
        candidate = now.candidate(model)
        hours = _hours(model, training.candidate(model).latency_ms, training.batch, request)
        accuracy = _accuracy(model, request.data, own, paper)
        found.append(replace(candidate, accuracy=accuracy, train_hours=hours))
    return found


class _Mode:
    """Columns of one mode on the device, and the laws that they give."""

    def __init__(self, mode: str, device: Device, request: Request, gmacs: Mapping[str, float]) -> None:
        self.mode, self.device, self.request, self.gmacs = mode, device, request, gmacs
        self.columns = _columns(device.records, mode, request)
        self.batch = self.columns[0].batch if self.columns else BATCHES[mode]
        self.laws = self._latency_laws()
        self.memory = self._memory_law()

    def candidate(self, model: str) -> Candidate:
        """Latency and memory."""
        relative = published_relative(self.mode).get(model)
        figure = None if relative is None else Figure(relative, "published", f"{PAPER}, Table 2")
        return replace(self._known(model), relative_latency=figure)

    def _known(self, model: str) -> Candidate:
        options = [column for column in self.columns if column.call_ms(model) is not None]
        if options:
            return min((_measured(column, model) for column in options), key=self._preference)
        failures = [f for c in self.columns if model in c.entries and (f := c.entries[model].failure)]
        if failures:
            last = max(failures, key=lambda failure: failure.created)
            return Candidate(model, failed=f"{last.status}: {last.message or 'no reason given'}")
        return self._predicted(model)

    def _preference(self, candidate: Candidate) -> tuple[bool, float]:
        """What fits the memory first, then what is faster."""
        limit, memory = self.request.max_memory_gib, candidate.memory_gib
        assert candidate.latency_ms is not None
        return limit is not None and memory is not None and memory.value > limit, candidate.latency_ms.value

    def _predicted(self, model: str) -> Candidate:
        latency = next((Figure(ms, "predicted", str(law)) for law in self.laws if (ms := law.predict(model))), None)
        latency = latency or self._by_rate(model)
        setting = self.columns[0].label if self.laws else ""
        return Candidate(model, latency, self._predicted_memory(model), setting=setting)

    def _by_rate(self, model: str) -> Figure | None:
        """Where nothing was measured: published relative latencies, scaled so that no model takes less than its
        operations do; operations alone would make small models far too fast."""
        rate, relative = self.device.rate, published_relative(self.mode)
        if rate is None:
            return None
        least = {m: 2e12 * g * self.batch * PASSES[self.mode] / rate.flops_per_s for m, g in self.gmacs.items()}
        factors = {m: least[m] / relative[m] for m in least if m in relative}
        if model in relative and factors:
            slowest = max(factors, key=lambda m: factors[m])
            why = f"as if {slowest} ran at {rate.why}, others by published relative latencies ({PAPER}, Table 2)"
            return Figure(factors[slowest] * relative[model], "predicted", why)
        at = f"from {self.gmacs.get(model, 0):.4g} GMACs a clip at {rate.why}; small models take longer"
        return Figure(least[model], "predicted", at) if model in least else None

    def _latency_laws(self) -> list[Law]:
        """Through the largest column; a law of published latencies and one of operations, the surer one first."""
        if not self.columns:
            return []
        column = self.columns[0]
        known = {m: ms for m in column.entries if (ms := column.call_ms(m)) is not None}
        published = fit(f"published relative latencies ({PAPER}, Table 2)", known, published_relative(self.mode))
        return best_first([published, fit("operations (GMACs)", known, self.gmacs)])

    def _memory_law(self) -> Law | None:
        if not self.columns:
            return None
        column = self.columns[0]
        known = {m: _memory_gib(e.newest) for m, e in column.entries.items() if e.newest}
        measured = {m: value for m, value in known.items() if value}
        return fit(f"published VRAM ({PAPER}, Table 2)", measured, published_memory_gib(self.mode), sloped=False)

    def _predicted_memory(self, model: str) -> Figure | None:
        if self.memory and (value := self.memory.predict(model)):
            return Figure(value, "predicted", str(self.memory))
        value = published_memory_gib(self.mode).get(model)
        why = f"VRAM of the paper's GPUs at batch {BATCHES[self.mode]} ({PAPER}, Table 2)"
        return None if value is None else Figure(value, "published", why)


def _columns(records: Iterable[BenchRecord], mode: str, request: Request) -> list[Column]:
    """Columns that answer the request, the one with most measured models first; all of its batch."""
    asked = (request.frames, request.size)
    found = [c for c in make_columns(records) if c.mode == mode and (c.setting.frames, c.setting.size) == asked]
    found = [c for c in found if request.precision in (None, c.setting.precision)]
    found.sort(key=lambda column: -sum(bool(entry.measured) for entry in column.entries.values()))
    return [column for column in found if column.batch == found[0].batch]


def _measured(column: Column, model: str) -> Candidate:
    latency_ms = column.call_ms(model)
    assert latency_ms is not None
    record = column.entries[model].newest
    memory = _memory_gib(record)
    why = f"{column.label}, {record.created[:10]}" if record else column.label
    return Candidate(
        model,
        Figure(latency_ms, "measured", why),
        None if memory is None else Figure(memory, "measured", why),
        setting=column.label,
        notes=tuple(entry_notes(column, model)),
    )


def _memory_gib(record: BenchRecord | None) -> float | None:
    """What has to be free: what PyTorch reserved on a GPU, else the peak."""
    if record is None:
        return None
    known = [v for v in (record.peak_memory_gib, record.reserved_memory_gib) if v is not None]
    return max(known, default=None)


def _accuracy(model: str, data: str, own: Scores, paper: Scores) -> Figure | None:
    if score := own.get(data, {}).get(model):
        return Figure(score.top1, "own run", score.source)
    if score := paper.get(data, {}).get(model):
        said = f"; {score.message}" if score.message else ""
        return Figure(score.top1, "published", f"{score.source}{said}")
    return None


def _hours(model: str, step_ms: Figure | None, batch: int, request: Request) -> Figure | None:
    clips = request.clips or CLIPS.get(request.data)
    epochs = request.epochs or published_epochs().get(model)
    if step_ms is None or clips is None or epochs is None:
        return None
    hours = step_ms.value / batch * clips * epochs / 3.6e6
    source = "as asked" if request.epochs else f"to convergence on ssv2 ({PAPER}, Table 5)"
    why = f"{clips} clips, {epochs} epochs {source}; step {step_ms.basis}: {step_ms.why}; reading of clips left out"
    return Figure(hours, "predicted", why)
