"""What one call of each mode is, in PyTorch, on any of its devices: the lightweight paper's sections 3.2 to 3.5."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from kinelite.bench.case import Case
from kinelite.bench.devices import Unsupported
from kinelite.config import OptimConfig
from kinelite.errors import UsageError
from kinelite.models.cost import count_gmacs
from kinelite.models.registry import create_model
from kinelite.models.streaming import StreamingModel
from kinelite.train.compiled import compiled
from kinelite.train.optim import fuses, make_optimizer

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Made:
    """A model, a call of it, and facts for the record."""

    model: nn.Module
    call: Callable[[], object]
    facts: dict[str, Any]


def build(case: Case, device: torch.device) -> Made:
    """The case's model with random weights on ``device``, and its call. Raises `Unsupported`."""
    torch.manual_seed(0)
    try:
        model: Any = create_model(case.model, frames=case.frames, size=case.size)
    except UsageError as error:
        raise Unsupported(str(error)) from error
    facts = cost_of(model)
    model.to(device)
    network = model
    if case.compiled:
        network, said = compiled(model, device)
        if said.startswith("not compiled"):
            raise Unsupported(said)
    make = {"train": _train, "stream": _stream, "decode": _decode, "clip_to_label": _clip_to_label}
    return Made(model, make.get(case.mode, _infer)(case, network, device), facts)


def cost_of(model: Any) -> dict[str, Any]:
    """Multiply-accumulates of one clip, parameters and weights, counted without running the model."""
    parameters = list(model.parameters())
    return {
        "gmacs": count_gmacs(model, model.spec),
        "params_m": sum(p.numel() for p in parameters) / 1e6,
        "weights_mib": sum(p.numel() * p.element_size() for p in parameters) / 2**20,
    }


def mixed(case: Case, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Autocast to the case's precision; nothing for fp32."""
    half = TYPES.get(case.precision)
    return torch.autocast(device.type, dtype=half) if half else contextlib.nullcontext()


def video_of(case: Case, device: torch.device) -> Float[Tensor, "b 3 t h w"]:
    """Normalised noise: what a model computes does not depend on what it sees."""
    return torch.randn(case.batch, 3, case.frames, case.size, case.size, device=device)


def _infer(case: Case, network: nn.Module, device: torch.device) -> Callable[[], object]:
    network.eval()
    video = video_of(case, device)

    def call() -> object:
        with torch.inference_mode(), mixed(case, device):
            return network(video)

    return call


def _train(case: Case, network: nn.Module, device: torch.device) -> Callable[[], object]:
    """Forward, loss, backward and AdamW's step, all parameters trained."""
    network.train()
    video = video_of(case, device)
    labels = torch.arange(case.batch, device=device) % 400
    scaler = torch.amp.GradScaler(device.type, enabled=case.precision == "fp16" and device.type == "cuda")
    optimizer = make_optimizer(network, OptimConfig(), 1e-4, fused=fuses(device.type, scaler.is_enabled()))

    def call() -> object:
        with mixed(case, device):
            logits = network(video)
        loss = F.cross_entropy(logits.float(), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return call


def _stream(case: Case, network: nn.Module, device: torch.device) -> Callable[[], object]:
    """One frame after the other, the state carried on: what a camera asks for."""
    model: Any = getattr(network, "_orig_mod", network)
    if not isinstance(model, StreamingModel):
        raise Unsupported(f"'{case.model}' does not take one frame at a time. See: kinelite list models '*stream*'")
    model.eval()
    frame = torch.randn(case.batch, 3, case.size, case.size, device=device)
    step = torch.compile(model.step) if case.compiled else model.step
    state: Any = None

    def call() -> object:
        nonlocal state
        with torch.inference_mode(), mixed(case, device):
            logits, state = step(frame, state)
        return logits

    return call


def _decode(case: Case, network: nn.Module, device: torch.device) -> Callable[[], object]:
    """The clip's frames, decoded and resized: what has to happen before a model sees anything."""
    from kinelite.bench.clip import reader

    spec: Any = getattr(network, "_orig_mod", network).spec
    return reader(case, spec)


def _clip_to_label(case: Case, network: nn.Module, device: torch.device) -> Callable[[], object]:
    """From the file to the most probable class."""
    from kinelite.bench.clip import reader
    from kinelite.train.step import normalise

    network.eval()
    spec: Any = getattr(network, "_orig_mod", network).spec
    read = reader(case, spec)

    def call() -> object:
        frames = torch.from_numpy(read())
        with torch.inference_mode(), mixed(case, device):
            return network(normalise(frames, spec, device)).argmax(1).item()

    return call
