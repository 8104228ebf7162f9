"""How many clips a run puts through its model at a time: as many as the planner sees room for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from kinelite.config import Stage, TrainConfig
from kinelite.plan.largest import largest
from kinelite.plan.sizes import GIB
from kinelite.plan.stages import Planner
from kinelite.plan.target import Target, free_memory_bytes
from kinelite.plan.traces import Traces, stored_traces

SHARE = {"cuda": 0.92, "cpu": 0.8}
"""Share of the free memory that is planned with: the rest is for what the allocator cannot use, and on a CPU for the
processes that decode."""


def choose_clips(
    config: TrainConfig,
    stage: Stage,
    classes: tuple[int, ...],
    *,
    precision: Any,
    device: str,
    stored: bool,
    traces: Traces | None = None,
) -> tuple[int, str]:
    """Clips at a time for a stage that begins on ``device``, at least one, and the sentence that says why."""
    kind: Literal["cpu", "cuda"] = "cuda" if device.startswith("cuda") else "cpu"
    free = free_memory_bytes(device)
    limit, batch = int(SHARE[kind] * free), stage.batch or config.batch
    plain = replace(config, features=replace(config.features, mode="stored" if stored else "online"))
    planner = Planner(plain, Target(kind, limit, 0, device), precision, classes, traces or stored_traces())

    def peak(clips: int) -> int:
        return planner.peaks(stage, clips, stored).train.total_bytes

    most = batch if peak(batch) <= limit else largest(peak, limit, 1, batch)
    clips = even(batch, most)
    room = f"{limit / GIB:.2f} of {free / GIB:.2f} GiB that are free"
    planner.traces.save()
    if not most:
        return 1, f"even one clip is planned to take {peak(1) / GIB:.2f} GiB, more than {room}"
    return clips, f"planned to take {peak(clips) / GIB:.2f} GiB, with {room}"


def even(batch: int, most: int) -> int:
    """Clips at a time that cut a batch into as few passes as ``most`` allows, all of them about as large."""
    passes = -(-batch // max(1, min(batch, most)))
    return -(-batch // passes)
