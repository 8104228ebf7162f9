"""What makes a stage fit that does not: each way is traced, and its peak shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from kinelite.config import Stage, TrainConfig
from kinelite.errors import UsageError
from kinelite.models import create_model, list_models
from kinelite.plan.stages import Planner

SIZES = (192, 160, 128, 112)
"""Pixels that are tried, the first that fits is shown."""


@dataclass(frozen=True)
class Remedy:
    """One change and what it leads to."""

    change: str
    """As flags of `kinelite train`."""
    peak_bytes: int
    fits: bool
    same_result: bool
    """Whether the same is learnt: as far as rounding goes."""


def remedies(planner: Planner, stage: Stage, clips: int) -> list[Remedy]:
    """Ways out for a stage that does not fit with ``clips`` at a time, those first that learn the same."""
    found: list[Remedy] = []
    for change, other, at, count, same in _ways(planner, stage, clips):
        try:
            peak = other.peaks(at, count, stored=True if "stored" in change else None).largest.total_bytes
        except UsageError:
            continue
        found.append(Remedy(change, peak, peak <= planner.target.limit_bytes, same))
    return _first_of_a_kind(found)


Way = tuple[str, Planner, Stage, int, bool]


def _ways(planner: Planner, stage: Stage, clips: int) -> Iterator[Way]:
    """(flags, planner, stage, clips at a time, whether the result is the same)."""
    again = _with(planner, replace(planner.config, memory=replace(planner.config.memory, recompute=True)))
    recompute = not planner.config.memory.recompute
    micro = planner.most_at_a_time(stage) or 1
    if clips > micro:
        yield f"--micro-batch {micro}", planner, stage, micro, True
    if recompute:
        yield "--memory.recompute", again, stage, clips, True
        if clips > 1:
            yield "--memory.recompute --micro-batch 1", again, stage, 1, True
    if planner.storable(stage) and not planner.stores(stage):
        yield "--features.mode stored", planner, stage, clips, False
    if planner.precision == "fp32":
        yield (
            "--precision bf16",
            replace(planner, precision="bf16", _models={}, _surfaces={}, _frames={}),
            stage,
            clips,
            False,
        )
    for size in SIZES:
        if size < (stage.size or planner.config.size or planner.blank(stage).spec.size):
            yield f"--size {size}", planner, replace(stage, size=size), clips, False
    if clips > 1 and (frames := planner.most_frames(stage, clips)) and frames < (stage.frames or 0):
        yield f"frames {frames}", planner, replace(stage, frames=frames), clips, False
    if (frames := planner.most_frames(stage, 1)) and frames < (stage.frames or 0):
        yield f"frames {frames}, --micro-batch 1", planner, replace(stage, frames=frames), 1, False
    for name in smaller(planner.config.model):
        yield f"--model {name}", _with(planner, replace(planner.config, model=name)), stage, clips, False


def smaller(model: str) -> list[str]:
    """Models of the same family with fewer weights, the largest first."""
    family = model.rpartition("_")[0]
    names = [name for name in list_models(f"{family}_*") if family] if ":" not in model else []
    sizes = {name: _weights(name) for name in names}
    fewer = [name for name in names if sizes[name] < sizes.get(model, 0)]
    return sorted(fewer, key=lambda name: -sizes[name])


def _weights(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(name).parameters())


def _with(planner: Planner, config: TrainConfig) -> Planner:
    return replace(planner, config=config, _models={}, _surfaces={}, _frames={})


def _first_of_a_kind(found: list[Remedy]) -> list[Remedy]:
    """Of several sizes and of several models the first that fits, or the last where none does."""
    kept: list[Remedy] = []
    for flag in dict.fromkeys(_kind(each) for each in found):
        same = [each for each in found if _kind(each) == flag]
        kept.append(next((each for each in same if each.fits), same[-1]))
    return kept


def _kind(remedy: Remedy) -> str:
    first = remedy.change.split()[0]
    return first if first in ("--size", "--model") else remedy.change
