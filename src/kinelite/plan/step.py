"""The step that is traced: what `kinelite.train` does with a batch, and what it does with one of an evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from kinelite.config import Stage, TrainConfig
from kinelite.plan.cuda import AsOnCuda
from kinelite.plan.track import Tracker
from kinelite.train.mix import draw_mix, micro_batches
from kinelite.train.optim import Ema, make_optimizer
from kinelite.train.part import build_model
from kinelite.train.stage import freeze, train_mode
from kinelite.train.step import mixed_video, normalise, piece_loss, task_logits

Mode = Literal["train", "inference"]
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Work:
    """A step of one stage."""

    config: TrainConfig
    stage: Stage
    """With frames, as in a resolved config."""
    classes: tuple[int, ...]
    """Classes of each task."""
    batch: int
    """Clips of an optimiser step; in inference those of a forward pass."""
    micro_batch: int
    """Clips of a forward pass."""
    mode: Mode = "train"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    target: Literal["cpu", "cuda"] = "cpu"
    """Whose choice of kernels, and whose allocator."""


@dataclass
class Ready:
    """A built model and what trains it."""

    model: Any
    optimizer: torch.optim.Optimizer | None
    ema: Ema | None

    def trained(self) -> list[Tensor]:
        """Parameters that take a gradient."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def state(self) -> list[Tensor]:
        """What the optimiser and the averages hold."""
        states = self.optimizer.state.values() if self.optimizer else ()
        held = [value for state in states for value in state.values() if isinstance(value, Tensor)]
        return held + (list(self.ema.average.values()) if self.ema else [])


def build(work: Work) -> nn.Module:
    """The model of the stage, with random weights: adapter installed, frozen parts frozen."""
    config = replace(work.config, pretrained=None, init=None, temporal_init=None)
    tasks = {f"task{i}": classes for i, classes in enumerate(work.classes)}
    model: Any = build_model(config, work.stage, tasks)[0]
    if work.stage.adapter:
        model.add_adapter()
    freeze(model, work.stage.freeze)
    return model


def prepare(work: Work, model: nn.Module) -> Ready:
    """The model in the mode of the work, with an optimiser when it trains."""
    if work.mode == "inference":
        return Ready(model.eval(), None, None)
    train_mode(model)
    optimizer = make_optimizer(model, work.config.optim, work.config.optim.lr)
    for group in optimizer.param_groups:
        # What PyTorch chooses by itself, said because it does not recognise tensors without data.
        group["foreach"] = work.target == "cuda"
    return Ready(model, optimizer, Ema(model, work.config.optim.ema) if work.config.optim.ema else None)


def blank_batch(work: Work, model: Any) -> tuple[UInt8[Tensor, "b c t h w"], Int64[Tensor, "b tasks"]]:
    """Frames and labels as the loader gives them."""
    spec = model.spec
    frames = torch.zeros(work.batch, 3, spec.frames, spec.size, spec.size, dtype=torch.uint8)
    return frames, torch.zeros(work.batch, len(work.classes), dtype=torch.int64)


def run(
    work: Work,
    ready: Ready,
    frames: UInt8[Tensor, "b c t h w"],
    labels: Int64[Tensor, "b tasks"],
    tracker: Tracker | None = None,
) -> None:
    """One step. With a ``tracker``, say along the way what tensors are for."""
    if work.mode == "inference":
        _infer(work, ready, frames, tracker)
    else:
        _train(work, ready, frames, labels, tracker)


def _infer(work: Work, ready: Ready, frames: Tensor, tracker: Tracker | None) -> None:
    with torch.no_grad():
        video = normalise(frames, ready.model.spec, torch.device("cpu"))
        if tracker:
            tracker.know([video], "inputs")
        with _precision(work):
            logits = ready.model(video)
        _ = [values.float() for values in task_logits(logits)]


def _train(work: Work, ready: Ready, frames: Tensor, labels: Tensor, tracker: Tracker | None) -> None:
    optim, model = work.config.optim, ready.model
    # Mixup holds two videos and a cuboid one: where a step may draw either, the larger counts.
    optim = replace(optim, cutmix=0.0) if optim.mixup else optim
    clips = len(frames)
    mix = draw_mix(optim, (clips, *frames.shape[2:]), np.random.default_rng(0))
    total = torch.zeros(())
    for piece in micro_batches(frames, labels, work.micro_batch, mix):
        video = mixed_video(piece, model.spec, torch.device("cpu"))
        if tracker:
            tracker.know([video], "inputs")
        with _precision(work):
            logits = model(video)
        del video
        loss = piece_loss(logits, piece, optim.label_smoothing) / clips
        if tracker:
            tracker.keep_as("activations", ("weights", "gradients", "optimizer", "buffers", "inputs", "elsewhere"))
        loss.backward()
        total += loss.detach()
        if tracker:
            tracker.know([p.grad for p in ready.trained() if p.grad is not None], "gradients")
    torch.nn.utils.clip_grad_norm_(ready.trained(), optim.clip_norm or float("inf"))
    assert ready.optimizer is not None
    ready.optimizer.step()
    ready.optimizer.zero_grad(set_to_none=True)
    if ready.ema:
        ready.ema.update()


@contextlib.contextmanager
def _precision(work: Work) -> Iterator[None]:
    half = TYPES.get(work.precision)
    with contextlib.ExitStack() as stack:
        if work.target == "cuda":
            stack.enter_context(AsOnCuda(half))
        if half:
            stack.enter_context(torch.autocast("cpu", dtype=half))
        yield
