"""The step that is traced: what `kinelite.train` does with a batch, and what it does with one of an evaluation."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from kinelite.config import Stage, TrainConfig
from kinelite.models import Factorised
from kinelite.plan.cuda import act_as_on_cuda
from kinelite.plan.repeat import Repeats
from kinelite.plan.track import Tracker
from kinelite.train.build import build_model, spare
from kinelite.train.chunks import choose_chunk, clip_logits, model_input
from kinelite.train.halved import halve_frozen
from kinelite.train.mix import draw_mix, micro_batches
from kinelite.train.optim import Ema, fuses, make_optimizer
from kinelite.train.stage import freeze, frozen_encoder, train_mode
from kinelite.train.step import piece_loss, task_logits

Inputs = UInt8[Tensor, "b c t h w"] | Float[Tensor, "b n d"]
Mode = Literal["train", "inference"]
_STATE: dict[type, tuple[str, ...]] = {
    torch.optim.AdamW: ("exp_avg", "exp_avg_sq"),
    torch.optim.SGD: ("momentum_buffer",),
}
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
    stored: bool = False
    """The stage reads stored features: there is no encoder."""


@dataclass
class Ready:
    """A built model and what trains it."""

    model: Any
    optimizer: torch.optim.Optimizer | None
    ema: Ema | None

    @property
    def device(self) -> torch.device:
        """Where the model lies; without data it claims to lie on a CPU."""
        return next(self.model.parameters()).device

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
    if work.target == "cuda" and next(model.parameters()).is_meta:
        act_as_on_cuda(model, TYPES.get(work.precision))
    spare(model, config, work.stage)
    if work.stored:
        model.encoder = nn.Identity()
    return model


def prepare(work: Work, model: nn.Module) -> Ready:
    """The model in the mode of the work, with an optimiser when it trains."""
    half = TYPES.get(work.precision)
    if half and work.target == "cuda" and isinstance(model, Factorised) and (frozen_encoder(model)):
        halve_frozen(model, half)
    if work.mode == "inference":
        return Ready(model.eval(), None, None)
    train_mode(model)
    fused = fuses(work.target, scales_loss=work.target == "cuda" and work.precision == "fp16")
    optimizer = make_optimizer(model, work.config.optim, work.config.optim.lr, fused=fused)
    for group in optimizer.param_groups:
        # What PyTorch chooses by itself, said because it does not recognise tensors without data.
        group["foreach"] = work.target == "cuda" and not fused
    return Ready(model, optimizer, Ema(model, work.config.optim.ema) if work.config.optim.ema else None)


def prime(ready: Ready) -> None:
    """Give the optimiser the state that it makes in its first step: what a step takes is what the second one takes."""
    if ready.optimizer is None:
        return
    for parameter in ready.trained():
        adamw = isinstance(ready.optimizer, torch.optim.AdamW)
        if not adamw and not ready.optimizer.param_groups[0]["momentum"]:
            continue
        state: dict[str, Tensor] = {name: torch.zeros_like(parameter) for name in _STATE[type(ready.optimizer)]}
        if adamw:
            state["step"] = torch.tensor(0.0)  # known, so that it can be asked for its value
        ready.optimizer.state[parameter] = state


def blank_batch(work: Work, model: Any) -> tuple[Inputs, Int64[Tensor, "b tasks"]]:
    """Frames, or stored features, and labels as the loader gives them."""
    spec = model.spec
    labels = torch.zeros(work.batch, len(work.classes), dtype=torch.int64)
    if work.stored:
        return torch.zeros(work.batch, spec.frames // model.tubelet, model.width, dtype=torch.float16), labels
    return torch.zeros(work.batch, 3, spec.frames, spec.size, spec.size, dtype=torch.uint8), labels


def run(
    work: Work,
    ready: Ready,
    inputs: Inputs,
    labels: Int64[Tensor, "b tasks"],
    tracker: Tracker | None = None,
) -> None:
    """One step. With a ``tracker``, say along the way what tensors are for."""
    if work.mode == "inference":
        _infer(work, ready, inputs)
    else:
        _train(work, ready, inputs, labels, tracker)


class Forward:
    """A model as Fabric runs it: under autocast, results in fp32. On the way, its input is named to the tracker."""

    def __init__(self, work: Work, model: nn.Module, tracker: Tracker | None) -> None:
        self.module, self._work, self._tracker = model, work, tracker
        self._repeats = Repeats(tracker) if tracker else None

    def __call__(self, inputs: Tensor, **options: Any) -> Any:
        """What the model makes of a video or of features."""
        if self._tracker:
            self._tracker.know([inputs], "inputs")
        if self._repeats and options.get("encode_only"):
            return self._repeats.run(tuple(inputs.shape), lambda: self._run(inputs, options))
        return self._run(inputs, options)

    def _run(self, inputs: Tensor, options: dict[str, Any]) -> Any:
        half = TYPES.get(self._work.precision)
        with torch.autocast(inputs.device.type, dtype=half) if half else contextlib.nullcontext():
            found = self.module(inputs, **options)
        return found.float() if isinstance(found, Tensor) else {task: x.float() for task, x in found.items()}


def _chunk(work: Work, model: Any) -> int:
    """Frames that a frozen encoder sees at a time on the target."""
    if not isinstance(model, Factorised):
        return work.config.memory.chunk_frames
    return choose_chunk(work.config.memory.chunk_frames, torch.device(work.target), model.tubelet)


def _infer(work: Work, ready: Ready, frames: Tensor) -> None:
    forward = Forward(work, ready.model, None)
    with torch.no_grad():
        logits = clip_logits(forward, frames, ready.model.spec, ready.device, _chunk(work, ready.model))
        _ = [values.float() for values in task_logits(logits)]


def _train(work: Work, ready: Ready, inputs: Tensor, labels: Tensor, tracker: Tracker | None) -> None:
    optim, spec, chunk = work.config.optim, ready.model.spec, _chunk(work, ready.model)
    # Mixup holds two videos and a cuboid one: where a step may draw either, the larger counts.
    optim = replace(optim, cutmix=0.0) if optim.mixup else optim
    mix = draw_mix(optim, (len(inputs), *inputs.shape[2:]), np.random.default_rng(0))
    forward, total = Forward(work, ready.model, tracker), torch.zeros((), device=ready.device)
    for piece in micro_batches(inputs, labels, work.micro_batch, mix):
        logits = forward(model_input(forward, piece, spec, ready.device, chunk))
        loss = piece_loss(logits, piece, optim.label_smoothing) / len(inputs)
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
