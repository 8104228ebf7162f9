"""What a model weighs and costs, without running it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kinelite.models.factorised import Factorised
from kinelite.models.registry import card, create_model
from kinelite.types import InputSpec


def describe(model: nn.Module | str) -> dict[str, Any]:
    """Parameters per part, size of the weights in MiB (as built, and in a 16-bit type), GMACs for one clip, the input,
    and whether the SFA recipe works on it.

    For `kinelite info`. A name is built on the meta device, at 400 classes, so that no memory is taken; its card's
    facts are then included.
    """
    if isinstance(model, str):
        with torch.device("meta"):
            built = create_model(model)
        facts = asdict(card(model))
        return {**facts, **describe(built), "params_m_published": facts["params_m"]}
    spec: InputSpec = model.spec  # type: ignore[assignment]
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    size_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    return {
        "params": parts,
        "params_m": sum(p.numel() for p in model.parameters()) / 1e6,
        "weights_mib": size_bytes / 2**20,
        "weights_half_mib": 2 * sum(p.numel() for p in model.parameters()) / 2**20,
        "gmacs": count_gmacs(model, spec),
        "spec": asdict(spec),
        "sfa": isinstance(model, Factorised),
    }


def count_gmacs(model: nn.Module, spec: InputSpec) -> float:
    """10^9 multiply-accumulates of one forward pass of one clip, attention included (what papers call GFLOPs).

    Counted on the meta device with the plain attention kernel: the counter cannot see fused ones on a CPU.
    """
    return sum(_counted(model, spec).values()) / 2e9


def count_layer_gmacs(model: nn.Module, spec: InputSpec) -> float:
    """The part of `count_gmacs` that convolutions and linear layers do: what counters find that look at modules alone,
    not at products of activations such as attention's.
    """
    products = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
    return sum(flops for operator, flops in _counted(model, spec).items() if operator not in products) / 2e9


def _counted(model: nn.Module, spec: InputSpec) -> dict[Any, int]:
    """Floating-point operations of one clip by operator."""
    weights = {n: torch.empty_like(p, device="meta") for n, p in [*model.named_parameters(), *model.named_buffers()]}
    video = torch.empty(1, 3, spec.frames, spec.size, spec.size, device="meta")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        functional_call(model, weights, (video,))
    return counter.get_flop_counts()["Global"]
