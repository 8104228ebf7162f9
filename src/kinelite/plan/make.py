"""A plan: every stage of a config on a device, before anything runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from kinelite.config import FeaturesConfig, Stage, TrainConfig
from kinelite.limits import check_config
from kinelite.models import create_model
from kinelite.plan import hours as time_of
from kinelite.plan.calibrate import check_here, rate_of
from kinelite.plan.choose import even
from kinelite.plan.clips import Clips
from kinelite.plan.remedies import Remedy, remedies
from kinelite.plan.sizes import gib
from kinelite.plan.stages import Cell, Peaks, Planner
from kinelite.plan.target import Target
from kinelite.plan.traces import Traces, stored_traces
from kinelite.train.build import check_factorised
from kinelite.train.features.room import OVERHEAD
from kinelite.train.features.store import DTYPES


@dataclass(frozen=True)
class StagePlan:
    """What a stage takes. GiB are 2**30 bytes; `peak_memory_gib` is the sum of its parts."""

    name: str
    frames: int
    size: int
    batch: int
    micro_batch: int
    """Clips at a time."""
    epochs: int
    stored: bool
    """Whether the encoder runs once and the stage reads its features."""
    fits: bool
    peak_memory_gib: float
    parts_gib: dict[str, float]
    passes_gib: dict[str, float]
    """Peak of each kind of pass: train, and of a stage on stored features encode."""
    max_batch: int
    """Clips at a time that fit at these frames; a batch of any size can be cut into so many."""
    max_frames: int
    """Frames that fit with ``micro_batch`` clips at a time."""
    hours: float | None
    """None: no rate is known."""
    hours_basis: str
    hours_by_card: dict[str, float]
    features_gib: float | None
    """Disk for stored features of the training clips; None where none can be stored."""
    table: list[dict[str, Any]]
    """Rows of frames, clips, peak_memory_gib (None: not traced, fewer do not fit), fits."""
    remedies: list[dict[str, Any]]
    """Rows of change, peak_memory_gib, fits, same_result; only where the stage does not fit."""


@dataclass(frozen=True)
class Plan:
    """What `kinelite plan` prints and ``--json`` gives."""

    model: str
    recipe: str
    target: str
    memory_gib: float
    outside_gib: float
    """Taken by the process beside tensors, assumed."""
    precision: str
    clips: int
    clips_source: str
    stages: list[StagePlan]

    @property
    def fits(self) -> bool:
        """Whether every stage fits."""
        return all(stage.fits for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        hours = [stage.hours for stage in self.stages if stage.hours is not None]
        whole = round(sum(hours), 3) if len(hours) == len(self.stages) else None
        return asdict(self) | {"fits": self.fits, "hours": whole}


def make_plan(
    config: TrainConfig,
    target: Target,
    clips: Clips,
    *,
    table: bool = True,
    calibrate: bool = False,
    traces: Traces | None = None,
) -> Plan:
    """Plan every stage of ``config`` for ``target``. Raises UsageError for what the model or recipe cannot be."""
    config = config.resolved()
    check_config(config)
    if calibrate:
        check_here(target)
    _check_parts(config)
    planner = Planner(config, target, _precision(config, target), clips.classes, traces or stored_traces())
    try:
        stages = [_stage(planner, stage, clips, table, calibrate) for stage in config.stages]
    finally:
        planner.traces.save()
    return Plan(
        config.model,
        config.recipe,
        target.name,
        gib(target.memory_bytes),
        gib(target.outside_bytes),
        planner.precision,
        clips.train,
        clips.source,
        stages,
    )


def _check_parts(config: TrainConfig) -> None:
    if any(stage.adapter for stage in config.stages):
        with torch.device("meta"):
            check_factorised(config, create_model(config.model, net=config.net))


def _precision(config: TrainConfig, target: Target) -> str:
    if config.precision != "auto":
        return config.precision
    if target.kind == "cpu":
        return "fp32"
    return target.gpu.half if target.gpu else "bf16"


def _stage(planner: Planner, stage: Stage, clips: Clips, table: bool, calibrate: bool) -> StagePlan:
    batch, limit = stage.batch or planner.config.batch, planner.target.limit_bytes
    most = planner.most_clips(stage)
    asked = stage.micro_batch or batch
    micro = even(batch, planner.most_at_a_time(stage)) if asked == "auto" else min(asked, batch)
    peaks = planner.peaks(stage, micro)
    fits = peaks.largest.total_bytes <= limit
    rates = rate_of(planner, stage, max(1, min(micro, most)), calibrate)
    time = time_of.tell(_flops(planner, stage, peaks, clips), rates, planner.target.cards(), planner.precision)
    return StagePlan(
        name=stage.name,
        frames=stage.frames or 0,
        size=stage.size or planner.blank(stage).spec.size,
        batch=batch,
        micro_batch=micro,
        epochs=stage.epochs or 0,
        stored=peaks.encode is not None,
        fits=fits,
        peak_memory_gib=gib(peaks.largest.total_bytes),
        parts_gib={part: gib(size) for part, size in peaks.largest.parts_bytes.items()},
        passes_gib={name: gib(found.total_bytes) for name, found in peaks.passes().items()},
        max_batch=most,
        max_frames=planner.most_frames(stage, micro),
        hours=time.hours,
        hours_basis=time.basis,
        hours_by_card=time.by_card,
        features_gib=_features_gib(planner, stage, clips.train),
        table=[_cell(cell, limit) for cell in (planner.table(stage, micro) if table else [])],
        remedies=[] if fits else [_told(each) for each in remedies(planner, stage, micro)],
    )


def _cell(cell: Cell, limit_bytes: int) -> dict[str, Any]:
    peak = cell.peak_bytes
    fits = peak is not None and peak <= limit_bytes
    return {"frames": cell.frames, "clips": cell.clips, "peak_memory_gib": peak and gib(peak), "fits": fits}


def _told(remedy: Remedy) -> dict[str, Any]:
    return {
        "change": remedy.change,
        "peak_memory_gib": gib(remedy.peak_bytes),
        "fits": remedy.fits,
        "same_result": remedy.same_result,
    }


def _flops(planner: Planner, stage: Stage, peaks: Peaks, clips: Clips) -> time_of.Work:
    seen = clips.train * (stage.epochs or 0) * peaks.train.flops_per_clip
    if peaks.encode is None:
        return time_of.Work(seen)
    asked: FeaturesConfig = planner.config.features
    return time_of.Work(seen, clips.train * asked.views * asked.phases * peaks.encode.flops_per_clip)


def _features_gib(planner: Planner, stage: Stage, clips: int) -> float | None:
    """Disk of the training clips' store."""
    if not planner.storable(stage):
        return None
    model, asked = planner.blank(stage), planner.config.features
    vectors = (stage.frames or 0) // model.tubelet * asked.phases
    return gib(OVERHEAD * clips * asked.views * vectors * model.width * DTYPES[asked.precision].itemsize)
