"""The gradient of a batch in passes of a few clips, and ``--batch auto``: how many clips a pass has.

The batch is the recipe's whatever the machine, so what is learnt does not depend on its memory; only the passes do. A
stage that leaves their size to the run takes what the planner sees room for, proves it by a step that changes nothing,
and halves it wherever memory runs out. What was chosen stands in the run folder, so a continued run goes on with it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from kinelite.config import to_json
from kinelite.records import write_json
from kinelite.train.chunks import model_input
from kinelite.train.features.loader import FeatureLoader
from kinelite.train.mix import Mix, draw_mix
from kinelite.train.optim import set_lr
from kinelite.train.part import Part
from kinelite.train.shared import computing, shared_pieces
from kinelite.train.shortage import give_back, out_of_memory
from kinelite.train.step import piece_loss

if TYPE_CHECKING:
    from kinelite.train.job import Job

CHOSEN = "micro_batch.json"
Inputs = UInt8[Tensor, "b c t h w"] | Float[Tensor, "b n d"]


def gradient(
    job: Job,
    part: Part,
    inputs: Inputs,
    labels: Int64[Tensor, "b tasks"],
    counts: Sequence[int],
    mix: Mix | None,
    seed: int,
) -> Float[Tensor, ""]:
    """What the clips of this process add to the mean loss of the batch; its gradient is left in the parameters.

    ``counts``: clips of the batch in each process.

    Where the run chose the clips at a time itself, memory that runs out halves them and the step begins again, with the
    same draws and as if nothing had been tried. Raises what PyTorch raises when one clip is too many.
    """
    while True:
        before = _running(part) if part.auto else []
        torch.manual_seed(seed)
        asked = part.stage.micro_batch
        assert asked != "auto"
        micro = min(asked or max(counts), max(counts))
        try:
            return _accumulate(job, part, inputs, labels, counts, mix, micro)
        except RuntimeError as error:
            _check(job, part, error, micro)
        # The error is gone here, and with it the tensors that its traceback held.
        _undo(part, before)
        _take(job, part, micro // 2)
        job.log.say(f"  Out of memory at {micro} clips at a time: on with {micro // 2}, the gradient is the same.")


def settle(job: Job, part: Part) -> None:
    """Choose and prove the clips at a time of a stage that leaves them to the run ('auto')."""
    if part.stage.micro_batch != "auto":
        return
    part.auto = True
    kept = kept_clips(job)
    if kept:
        part.stage = replace(part.stage, micro_batch=kept)
        job.log.say(f"  {kept} clips at a time, as this stage began.")
        return
    clips, why = job.world.firsts(_planned(job, part) if job.world.first else (0, ""))
    # A process that runs out of memory would leave the others waiting, so several prove nothing.
    if job.progress.stage_step == 0 and job.world.size == 1:
        clips, why = _proved(job, part, clips, why)
    _take(job, part, clips)
    job.log.say(f"  {clips} of {_batch(job, part)} clips at a time: {why}. The batch stays what it is.")
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in part.model.modules()):
        job.log.say(f"  Batch norms see {clips} clips at a time: with other numbers something else is learnt.")


def kept_clips(job: Job) -> int | None:
    """Clips at a time that this stage chose before; None when it has not."""
    kept = None
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        found = json.loads((job.out / CHOSEN).read_text())[str(job.progress.stage)]
        if found["for"] == _asked(job) and int(found["clips"]) > 0:
            kept = int(found["clips"])
    return job.world.firsts(kept)


def _accumulate(
    job: Job,
    part: Part,
    inputs: Tensor,
    labels: Tensor,
    counts: Sequence[int],
    mix: Mix | None,
    micro: int,
    share: int | None = None,
) -> Tensor:
    """``share``: clips that the loss is divided by (default: those of the batch)."""
    config, device, clips = job.config, job.fabric.device, share or sum(counts)
    total = torch.zeros((), device=device)
    for piece, last in shared_pieces(job.world, inputs, labels, counts, micro, mix):
        with computing(job.fabric, part, job.world, piece, last):
            given = model_input(part.encoder(job.fabric), piece, part.spec, device, config.memory.chunk_frames)
            loss = piece_loss(part.forward(given), piece, config.optim.label_smoothing) / clips
            # The strategy takes the mean over the processes.
            job.fabric.backward(loss * job.world.size if job.world.size > 1 else loss)
        total += loss.detach()
    return total


def _check(job: Job, part: Part, error: RuntimeError, micro: int) -> None:
    """Raise an error that fewer clips do not help against, or that other processes would not know of."""
    if not part.auto or micro <= 1 or job.world.size > 1 or not out_of_memory(error):
        raise error


def _planned(job: Job, part: Part) -> tuple[int, str]:
    # Late: the planner traces the steps of this room.
    from kinelite.plan.choose import choose_clips

    classes = tuple(map(len, job.training.tasks.values()))
    precision, device = job.placement.precision, job.placement.device
    try:
        return choose_clips(job.config, part.stage, classes, precision=precision, device=device, stored=part.stored)
    except Exception as error:
        # A model that cannot be traced trains all the same.
        return _batch(job, part), f"not planned ({type(error).__name__}: {str(error).splitlines()[0]}), but tried"


def _proved(job: Job, part: Part, clips: int, why: str) -> tuple[int, str]:
    while True:
        before, scaler = _running(part), dict(job.fabric.strategy.precision.state_dict())
        try:
            _try(job, part, clips)
            return clips, f"{why}, proved by a step"
        except RuntimeError as error:
            _check(job, part, error, clips)
        finally:
            _inner(part).state.clear()
            _undo(part, before)
            if scaler:
                job.fabric.strategy.precision.load_state_dict(scaler)
        job.log.say(f"  Out of memory in a step with {clips} clips at a time: trying {clips // 2}.")
        clips, why = clips // 2, "what was planned did not fit"


def _try(job: Job, part: Part, clips: int) -> None:
    """A whole step on blank clips, two passes of it, with a rate and a gradient of zero."""
    optim, batch = job.config.optim, _batch(job, part)
    inputs, labels = _blank(job, part, min(batch, 2 * clips))
    mix = draw_mix(
        replace(optim, cutmix=0.0) if optim.mixup else optim,
        (len(inputs), *inputs.shape[2:]),
        np.random.default_rng(0),
    )
    _accumulate(job, part, inputs, labels, [len(inputs)], mix, clips, batch)
    limit = optim.clip_norm or float("inf")
    job.fabric.clip_gradients(part.forward, part.optimizer, max_norm=limit, error_if_nonfinite=False)
    for parameter in part.model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()
    set_lr(part.optimizer, 0.0)
    part.optimizer.step()


def _blank(job: Job, part: Part, clips: int) -> tuple[Tensor, Tensor]:
    labels = torch.zeros(clips, len(job.training.tasks), dtype=torch.int64)
    if isinstance(part.loader, FeatureLoader):
        model: Any = part.model
        return torch.zeros(clips, part.spec.frames // model.tubelet, model.width), labels
    return torch.zeros(clips, 3, part.spec.frames, part.spec.size, part.spec.size, dtype=torch.uint8), labels


def _running(part: Part) -> list[tuple[Tensor, Tensor]]:
    """Running statistics of batch norms that train, which a forward pass changes: (where they live, copy)."""
    norms = [m for m in part.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    return [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers(recurse=False)]


@torch.no_grad()
def _undo(part: Part, before: list[tuple[Tensor, Tensor]]) -> None:
    part.optimizer.zero_grad(set_to_none=True)
    for buffer, copy in before:
        buffer.copy_(copy)
    give_back()


def _take(job: Job, part: Part, clips: int) -> None:
    """Go on with so many clips at a time, and keep that for a run that is continued."""
    part.stage = replace(part.stage, micro_batch=clips)
    if not job.world.first:
        return
    path, kept = job.out / CHOSEN, {}
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text())
    write_json(path, kept | {str(job.progress.stage): {"clips": clips, "for": _asked(job)}})


def _asked(job: Job) -> Any:
    stages = job.config.stages
    return to_json(stages[min(job.progress.stage, len(stages) - 1)])


def _batch(job: Job, part: Part) -> int:
    return part.stage.batch or job.config.batch


def _inner(part: Part) -> torch.optim.Optimizer:
    """The optimiser that Fabric wrapped."""
    return getattr(part.optimizer, "optimizer", part.optimizer)
