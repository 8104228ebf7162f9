"""A model that the processes share out (FSDP): each holds a part of every weight that trains, gradient and average.

Frozen parameters stay whole everywhere: nothing of theirs would have to travel, and a frozen encoder can be run by one
process alone. Outside of training steps the model is put together again: checkpoints and files are as of one process.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(module: nn.Module, mesh: Any) -> nn.Module:
    """Share out what trains in ``module``: transformer block by transformer block, and the rest together."""
    blocks = [m for m in module.modules() if hasattr(m, "attn") and hasattr(m, "mlp") and m is not module]
    for part in (*blocks, module):
        if any(p.requires_grad for p in part.parameters()):
            still = {p for p in part.parameters() if not p.requires_grad}
            fully_shard(part, mesh=mesh["data_parallel"], ignored_params=still)
    return module


@dataclass
class FrozenEncoder:
    """The encoder of a shared-out model. It is frozen, so each process has all of it and runs it as often as it needs
    to, which the model itself must not be: there all wait for each other."""

    module: Any
    in_precision: Callable[[], AbstractContextManager[None]]
    """Gives the context in which the run computes."""

    def __call__(self, video: Tensor, encode_only: bool = True) -> Tensor:
        """Features, in the precision of the run."""
        assert encode_only
        with self.in_precision():
            return self.module.encode(video)


def whole(value: Any) -> Any:
    """The tensor that ``value`` is a part of; every process has to ask. Other things as they are."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, held: Tensor) -> Tensor:
    """This process's part of ``value``, cut as ``held`` is."""
    if not isinstance(held, DTensor):
        return value
    return distribute_tensor(value.to(held.device), held.device_mesh, held.placements)


def whole_state(optimizer: Any) -> dict[str, Any]:
    """An optimiser's state dict as one process has it."""
    state = optimizer.state_dict()
    return state | {"state": {i: {k: whole(v) for k, v in slots.items()} for i, slots in state["state"].items()}}


def load_state(optimizer: Any, state: dict[str, Any]) -> None:
    """Continue from the state dict of one process."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    slots = {
        index: {
            name: like(v, parameters[index]) if v.shape == parameters[index].shape else v for name, v in own.items()
        }
        for index, own in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": slots})


def replica(model: nn.Module) -> Callable[[], nn.Module]:
    """To be called before ``model`` is shared out or changed for training. What it returns gives a whole model of its
    own, in evaluation mode, with the weights of that moment; every process has to ask."""
    kept = copy.deepcopy(model).eval()

    def together() -> nn.Module:
        kept.load_state_dict({name: whole(value) for name, value in model.state_dict().items()})
        return kept

    return together


@torch.no_grad()
def copy_into(held: Tensor, value: Tensor) -> None:
    """Overwrite a part with that of the whole ``value``."""
    held.copy_(like(value, held))
