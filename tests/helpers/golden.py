"""Weights that two implementations can both have without a file: a function of our parameter names.

A golden test fills our model with `fill`, loads a stored input, and compares with the stored output of a reference
implementation. The reference got the same weights, its names translated through the layout that the test exercises.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn


def weights_for(name: str, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Values for the parameter or buffer of that name: the same on every machine, scaled so that signals neither
    vanish nor explode, running variances positive, gains near 1."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    draw = torch.randn(tuple(shape), generator=generator)
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.long)
    if name.endswith("running_var"):
        return 1 + 0.2 * draw.abs()
    if len(shape) < 2:
        return 1 + 0.1 * draw if name.endswith("weight") else 0.1 * draw
    fan_in = max(draw[0].numel(), 1)
    return draw / fan_in**0.5


def fill(model: nn.Module) -> dict[str, Tensor]:
    """Fill every parameter and floating buffer of our model; returns the state dict, for translating to a reference."""
    filled = {
        name: weights_for(name, tensor.shape) if tensor.is_floating_point() or "num_batches" in name else tensor
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(filled)
    return filled
