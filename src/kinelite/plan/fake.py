"""Models without data: built on the meta device, then moved to fake tensors that claim to lie on a CPU."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode


class FakeMode(FakeTensorMode):
    """PyTorch's mode, which asks at every operation whether there is a GPU: a sixth of a trace. Here once."""

    @cached_property
    def avoid_device_init(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
        """Whether PyTorch must not touch a device."""
        return super().avoid_device_init


def to_fake(model: nn.Module) -> nn.Module:
    """Replace every parameter and buffer of a model by one without data, in place; call it under a FakeTensorMode.

    Tensors that modules share stay shared. Types, strides and ``requires_grad`` are kept.
    """
    made: dict[int, Tensor] = {}

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            blank = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
            is_parameter = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = nn.Parameter(blank, tensor.requires_grad) if is_parameter else blank
        return made[id(tensor)]

    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = fake(tensor)  # pyright: ignore[reportArgumentType]
        _fake_attributes(module, fake)
    return model


def _fake_attributes(module: nn.Module, fake: Any) -> None:
    """Tensors that a module holds as plain attributes."""
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            vars(module)[name] = fake(value)
