"""Rates measured on the device of this machine by a few real steps, and kept for later plans."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kinelite.cache import cache_folder
from kinelite.config import Stage
from kinelite.errors import SetupError, UsageError
from kinelite.plan.hours import Rate
from kinelite.plan.stages import Planner
from kinelite.plan.step import TYPES, Work, blank_batch, build, prepare
from kinelite.plan.target import Target
from kinelite.records import write_json
from kinelite.train.chunks import clip_logits, model_input
from kinelite.train.mix import micro_batches
from kinelite.train.step import piece_loss

STEPS, PATIENCE_S, CPU_CLIPS = 5, 20.0, 2
"""Measured steps; seconds after which fewer do; clips at a time on a CPU, where more are no faster."""


def check_here(target: Target) -> None:
    """Raise UsageError when a device is to be measured that is not this machine's."""
    if target.here is None:
        raise UsageError(
            "--calibrate measures the device of this machine, and this plan is for another one. Leave --gpu-memory and "
            "--gpu out, or name the device beside it: --device cuda"
        )


def rate_of(planner: Planner, stage: Stage, clips: int, calibrate: bool) -> list[Rate]:
    """Rates of the passes of a stage, training first: measured now, or kept from before; [] where there are none."""
    here = planner.target.here
    if here is None:
        return []
    found: list[Rate] = []
    for kind, work in _passes(planner, stage, clips).items():
        name = "|".join((here, planner.precision, kind, planner.config.model))
        if calibrate:
            _keep(name, planner.traces(work).flops_per_clip / seconds_per_clip(work))
        rate = _kept(here, planner.precision, kind, planner.config.model)
        if rate is None:
            return []
        found.append(rate)
    return found


def seconds_per_clip(work: Work) -> float:
    """Median over a few real steps of ``work`` on the device that it is for: as many clips at a time as it says, and
    an optimiser step after each."""
    device = torch.device(work.target)
    model: Any = build(work).to(device)
    ready = prepare(work, model)
    inputs, labels = blank_batch(work, model)
    step = _step(work, ready.model, ready.optimizer, inputs, labels, device)
    took: list[float] = []
    step()  # kernels are chosen, memory is asked for
    began = time.perf_counter()
    while len(took) < STEPS and (not took or time.perf_counter() - began < PATIENCE_S):
        started = time.perf_counter()
        step()
        took.append(time.perf_counter() - started)
    return statistics.median(took) / work.batch


def _step(
    work: Work, model: Any, optimizer: torch.optim.Optimizer | None, inputs: Any, labels: Any, device: torch.device
) -> Callable[[], None]:
    half, chunk = TYPES.get(work.precision), work.config.memory.chunk_frames

    def run() -> None:
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            if optimizer is None:
                with torch.no_grad():
                    clip_logits(model, inputs, model.spec, device, chunk)
            else:
                for piece in micro_batches(inputs, labels, work.micro_batch, None):
                    logits = model(model_input(model, piece, model.spec, device, chunk))
                    piece_loss(logits, piece, work.config.optim.label_smoothing).backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def _passes(planner: Planner, stage: Stage, clips: int) -> dict[str, Work]:
    count = min(clips, CPU_CLIPS) if planner.target.kind == "cpu" else clips
    stored = planner.stores(stage)
    work = replace(planner.work(stage, count, count), stored=stored)
    if stored:
        return {"stored": work, "encode": planner.encode_work(stage, count)}
    return {"frozen" if planner.storable(stage) else "train": work}


def _file() -> Path:
    return cache_folder() / "plan" / "rates.json"


def _read() -> dict[str, float]:
    with contextlib.suppress(OSError, ValueError):
        kept: Any = json.loads(_file().read_text())
        if isinstance(kept, dict):
            return {str(name): float(rate) for name, rate in kept.items()}
    return {}


def _keep(name: str, flops_per_s: float) -> None:
    kept = _read()
    kept.pop(name, None)  # the newest is the last
    with contextlib.suppress(SetupError, OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_json(_file(), kept | {name: flops_per_s})


def _kept(here: str, precision: str, kind: str, model: str) -> Rate | None:
    """That of the model, else the newest of the same device and kind of pass."""
    kept = {tuple(name.split("|")): rate for name, rate in _read().items()}
    own = kept.get((here, precision, kind, model))
    if own is not None:
        return Rate(own, "measured", here)
    others = [(name, rate) for name, rate in kept.items() if name[:3] == (here, precision, kind)]
    if not others:
        return None
    name, rate = others[-1]
    return Rate(rate, "measured on another model", f"{name[3]} on {here}")
