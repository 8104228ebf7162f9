"""What came of a run: its record, and the sentence for memory that ran out."""

from __future__ import annotations

import math
from typing import Any

from safetensors import safe_open

from kinelite.config import to_json
from kinelite.records import Status, TrainRecord, environment, write_json
from kinelite.train.job import Job
from kinelite.train.micro import kept_clips
from kinelite.train.shortage import out_of_memory
from kinelite.train.trained import FILE
from kinelite.train.world import is_lost, lost


def write_record(job: Job, command: str, **result: Any) -> TrainRecord:
    """Write record.json: what the run was and what came of it (``result``)."""
    config, p = job.config, job.progress
    stages = p.finished_stages
    record = TrainRecord(
        recipe=config.recipe,
        model=config.model,
        data=config.data,
        train_seconds=p.train_s,
        eval_seconds=p.eval_s,
        data_wait_seconds=p.wait_s,
        peak_memory_gib=p.peak_gib,
        memory_kind="cuda" if job.memory.kind == "cuda" else "rss",
        trained_params=stages[-1]["trained_params"] if stages else None,
        params=_parameters(job),
        frames=stages[-1]["frames"] if stages else config.stages[-1].frames,
        size=config.stages[-1].size,
        epochs=sum(stage["epochs"] for stage in stages),
        batch=config.batch,
        precision=job.placement.precision,
        device=job.placement.device,
        seed=config.seed,
        clips=len(job.training.rows),
        steps=p.step,
        stages=stages,
        out=str(job.out),
        config=to_json(config),
        environment=environment(),
        command=command,
        **result,
    )
    if job.world.first:
        write_json(job.out / "record.json", record)
    return record


def _parameters(job: Job) -> int | None:
    path = job.out / FILE
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def explain(job: Job, error: RuntimeError | ValueError) -> tuple[Status, str]:
    """Status and message for what PyTorch raises when memory is gone, a norm has nothing to average or another process
    of the run is lost; others pass."""
    text = str(error)
    if out_of_memory(error):
        return "oom", _out_of_memory(job, text)
    if job.world.size > 1 and is_lost(error):
        return "failed", lost(error)
    if "more than 1 value per channel" in text:
        return "failed", _single_value(job)
    raise error


def _single_value(job: Job) -> str:
    stage = job.config.stages[min(job.progress.stage, len(job.config.stages) - 1)]
    return (
        f"A batch norm of '{job.config.model}' cannot train on a single clip of {stage.frames} frames: one "
        "position is left of it there, and a mean takes two values. More --frames, a larger --size, or a --batch and "
        "--micro-batch of 2 or more that leave no step with a single clip (with another --out)."
    )


def _out_of_memory(job: Job, text: str) -> str:
    stage = job.config.stages[min(job.progress.stage, len(job.config.stages) - 1)]
    first_line = text.splitlines()[0] if text else ""
    if stage.micro_batch == "auto":
        clips = kept_clips(job) or 1
        ways = "For transformers: --memory.recompute (in the same folder)"
    else:
        clips = stage.micro_batch or job.config.batch
        ways = (
            f"The same gradient in less memory: --micro-batch {max(1, clips // 2)}, or --batch auto (with another "
            "--out), or, for transformers, --memory.recompute (in the same folder)"
        )
    return (
        f"Out of memory in stage '{stage.name}' at {stage.frames} frames and {clips} clips per pass. {ways}. What "
        f"would fit: kinelite plan {job.config.model} --recipe {job.config.recipe}. {first_line}"
    )
