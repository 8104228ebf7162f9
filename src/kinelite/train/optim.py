"""Optimiser, learning-rate schedule, averaged weights. State is plain tensors and numbers, so it can be saved."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kinelite.config import OptimConfig
from kinelite.train.sharded import copy_into

# Positions, class tokens and 1-D parameters are offsets and scales; decaying them pulls towards nothing meaningful.
_UNDECAYED = re.compile(
    r"(^|\.)(pos_embed|time_embed|cls_token|reg_token|dist_token|positions|cls|query|latent|relative_position_bias_table)$"
)


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict]:
    """Groups (weight decay or none, layer-wise rate) over the parameters that train, in a stable order."""
    depth = _encoder_depth(model)
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = 0.0 if parameter.ndim < 2 or _UNDECAYED.search(name) else config.weight_decay
        scale = config.layer_decay ** (depth - _layer_of(name, depth)) if depth else 1.0
        group = groups.setdefault((decay, scale), {"params": [], "weight_decay": decay, "lr_scale": scale})
        group["params"].append(parameter)
    return list(groups.values())


def _encoder_depth(model: nn.Module) -> int:
    layers = [int(m.group(1)) for n, _ in model.named_parameters() if (m := re.search(r"^encoder\..*blocks\.(\d+)", n))]
    return max(layers, default=-1) + 2


def _layer_of(name: str, depth: int) -> int:
    if not name.startswith("encoder."):
        return depth
    block = re.search(r"blocks\.(\d+)", name)
    if block:
        return int(block.group(1)) + 1
    return depth - 1 if re.search(r"\.(norm|fc_norm|attn_pool)\.", name) else 0


def make_optimizer(model: nn.Module, config: OptimConfig, lr: float, *, fused: bool = False) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW over what trains in ``model``.

    ``fused``: one kernel for all of a step, up to rounding the same; not together with loss scaling (fp16).
    """
    groups = parameter_groups(model, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=lr, fused=fused)


def fuses(device: str, scales_loss: bool) -> bool:
    """Whether the optimiser is one kernel: on a CPU otherwise an eighth of a small step, and on a GPU one more copy of
    all gradients or several of them. Not where the loss is scaled."""
    return device in ("cpu", "cuda") and not scales_loss


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of every group, times the group's own scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


@dataclass
class Schedule:
    """Learning rate by step. Only ``factor``, ``best`` and ``waited`` change, and only under 'plateau'."""

    config: OptimConfig
    lr: float
    steps: int
    """Steps of the stage."""
    steps_per_epoch: int
    factor: float = 1.0
    best: float = -math.inf
    waited: int = 0

    def at(self, step: int) -> float:
        """Rate of step ``step`` (0-based): linear warm-up, then cosine to 0, or constant times the plateau factor."""
        warmup = round(self.config.warmup_epochs * self.steps_per_epoch)
        if step < warmup:
            return self.lr * self.factor * (step + 1) / (warmup + 1)
        if self.config.schedule == "cosine":
            done = (step - warmup) / max(1, self.steps - warmup)
            return self.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self.lr * self.factor

    def observe(self, score: float) -> None:
        """Tell the score of an evaluation; lowers the rate at the first one without progress beyond
        ``plateau_patience`` of them in a row, as PyTorch's ReduceLROnPlateau does."""
        if score > self.best:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.config.schedule == "plateau" and self.waited > self.config.plateau_patience:
            self.factor, self.waited = self.factor * self.config.plateau_factor, 0

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps; JSON has no infinity, so a best that does not exist yet is left out."""
        kept = {"factor": self.factor, "waited": self.waited}
        return kept | ({"best": self.best} if math.isfinite(self.best) else {})

    def load(self, state: dict[str, float]) -> None:
        """Continue from ``state``."""
        self.factor, self.waited = state["factor"], int(state["waited"])
        self.best = state.get("best", -math.inf)


class Ema:
    """Exponential moving average of the parameters that train (the frozen ones do not differ)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the live weights by 1 - decay."""
        torch._foreach_lerp_(list(self.average.values()), list(self.live.values()), 1 - self.decay)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange live and averaged weights; call it again to undo."""
        for name, parameter in self.live.items():
            held = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name].copy_(held)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from saved averages."""
        for name, tensor in tensors.items():
            copy_into(self.average[name], tensor)
