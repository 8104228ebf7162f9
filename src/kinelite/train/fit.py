"""The loop: a list of stages, each over its epochs. Everything that it uses is built before it."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from kinelite.data.loader import Batch
from kinelite.errors import RunError
from kinelite.train.features.loader import FeatureBatch
from kinelite.train.features.use import training_store
from kinelite.train.job import Job
from kinelite.train.micro import gradient, settle
from kinelite.train.mix import draw_mix
from kinelite.train.part import Part, build_part
from kinelite.train.sharded import whole
from kinelite.train.stage import trained_parameters


def fit(job: Job) -> Part:
    """Train every stage that is not done yet and return the last one, its final weights in place.

    Raises RunError when the loss is no longer finite and Interrupted when the user stops the run; both leave the last
    good checkpoint. The result depends on the seed only, however often the run was interrupted.
    """
    p, config = job.progress, job.config
    previous, resume = job.take_resume()
    while True:
        began = time.perf_counter()
        job.memory.reset()
        part, origin = build_part(
            config, job.training, job.fabric, p.stage, previous, resume, partial(training_store, job), job.world
        )
        resume = None
        settle(job, part)
        job.announce(part, origin, trained_parameters(part.model))
        job.clock(began)
        stage_epochs = config.epochs if part.stage.epochs is None else part.stage.epochs
        while p.epoch < stage_epochs and not p.stage_done:
            part.loader.batches.seek(p.epoch, p.batch)
            began = time.perf_counter()
            for batch in part.loader:
                lr = part.schedule.at(p.stage_step)
                job.set_lr(part, lr)
                loss, norm = train_step(job, part, batch)
                p.batch, p.stage_step, p.step = p.batch + 1, p.stage_step + 1, p.step + 1
                job.count_skipped(batch)
                del batch  # before the next one is read
                began = job.clock(began)
                if job.log_due(part):
                    job.log_step(part, loss, lr, norm)
                if job.save_due():
                    job.save(part)
                job.stop_if_asked(part)
                if job.out_of_time():
                    break
            p.epoch, p.batch = p.epoch + 1, 0
            p.stage_done = job.out_of_time()
            if job.validate_due(stage_epochs):
                job.validate(part)
            if p.epoch < stage_epochs and not p.stage_done:
                job.save_epoch(part)
        job.finish_stage(part)
        if p.stage == len(config.stages) or job.out_of_time():
            return part
        previous = part.state()


def train_step(job: Job, part: Part, batch: Batch | FeatureBatch) -> tuple[float, float]:
    """One optimiser step; returns the mean loss of the batch and the norm of its gradient.

    Every random draw of a step comes from (seed, stage, step), so a resumed run draws the same. Where processes share
    the batch, loss and gradient are those of all of it.
    """
    config, p = job.config, job.progress
    rng = np.random.default_rng([config.seed, p.stage, p.stage_step])
    seed = int(rng.integers(2**62)) + job.world.rank
    inputs, counts = _inputs(part, batch), job.meet(batch)
    if not sum(counts):
        job.agree(0.0)
        return math.nan, 0.0
    mix = draw_mix(config.optim, (sum(counts), *inputs.shape[2:]), rng)
    loss = gradient(job, part, inputs, batch.labels, counts, mix, seed)
    norm, total = _clip(job, part), job.agree(loss.item())
    if not math.isfinite(total):
        raise RunError(_not_finite(job, batch, "loss", total))
    if not math.isfinite(norm) and job.placement.precision != "fp16":
        # fp16 steps over such a gradient itself and lowers the scale of the loss.
        raise RunError(_not_finite(job, batch, "gradient", norm))
    part.optimizer.step()
    part.optimizer.zero_grad(set_to_none=True)
    if part.ema:
        part.ema.update()
    return total, norm


def _inputs(part: Part, batch: Batch | FeatureBatch) -> Tensor:
    """Stored features, or frames of the one view that training sees; empty when no clip of the batch can be read."""
    if isinstance(batch, FeatureBatch):
        return part.loader.nothing() if batch.features is None else batch.features
    return part.loader.nothing() if batch.frames is None else batch.frames[:, 0]


def _clip(job: Job, part: Part) -> float:
    limit: Any = job.config.optim.clip_norm or math.inf
    norm = job.fabric.clip_gradients(part.forward, part.optimizer, max_norm=limit, error_if_nonfinite=False)
    return float(whole(norm)) if norm is not None else 0.0


def _not_finite(job: Job, batch: Batch | FeatureBatch, what: str, value: float) -> str:
    rows = job.training.rows
    clips = ", ".join(rows[i].path for indices in job.world.everyones(batch.indices) for i in indices)
    good = job.last_good()
    return (
        f"The {what} is {value} at step {job.progress.step + 1} (stage {job.progress.stage + 1}, "
        f"epoch {job.progress.epoch + 1}). Clips of that step: {clips}. Last good checkpoint: {good}. "
        "Often the learning rate is too high: the same command with a lower --optim.lr and another --out."
    )
