"""Operators that a runtime lacks, each with what takes its place. A new one is a line of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from kinelite.export.conv3d import conv3d
from kinelite.export.graph import aten, in_place_of, tidy
from kinelite.export.pool3d import adaptive_avg_pool3d, avg_pool3d, max_pool3d
from kinelite.models.frames import frames_of


def mean(x: Tensor, dim: Sequence[int] | None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of a clip as that of each frame, and then over the frames: pooling of images."""
    if x.ndim != 5 or sorted(d % 5 for d in dim or ()) != [2, 3, 4]:
        return torch.mean(x, dim, keepdim, dtype=dtype)
    frames = frames_of(x).mean((2, 3), keepdim=True).reshape(x.shape[0], x.shape[2], x.shape[1])
    found = frames.mean(1)
    return found[:, :, None, None, None] if keepdim else found


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """A mix of rows channel by channel, which is how models here mix frames, as products and sums.

    As a convolution it would want rows, columns and channels apart, where frames lie between them.
    """
    rows, columns = weight.shape[2:]
    plain = columns == 1 < rows and list(stride) == list(dilation) == [1, 1] and padding[1] == 0
    if not plain or not groups == len(weight) == x.shape[1]:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    length = x.shape[2] + 2 * padding[0] - rows + 1
    wide = F.pad(x, (0, 0, padding[0], padding[0]))
    total = sum(wide[:, :, row : row + length] * weight[:, :, row, :, None].flatten(0, 1) for row in range(rows))
    return total if bias is None else total + bias[:, None, None]


def roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    """A shift around the ends, as two pieces that change places."""
    assert len(dims) == len(shifts), "a shift of all numbers in a row"
    for shift, dim in zip(shifts, dims, strict=True):
        length = x.shape[dim]
        if cut := (length - shift) % length:
            ends = [(slice(None),) * (dim % x.ndim) + (part,) for part in (slice(cut, length), slice(0, cut))]
            x = torch.cat([x[end] for end in ends], dim)
    return x


Substitutes = Mapping[Any, Callable[..., Any]]
VOLUMES: Substitutes = {
    aten.conv3d.default: conv3d,
    aten.conv3d.padding: conv3d,
    aten.max_pool3d.default: max_pool3d,
    aten.avg_pool3d.default: avg_pool3d,
    aten.adaptive_avg_pool3d.default: adaptive_avg_pool3d,
    aten.mean.dim: mean,
    aten.conv2d.default: conv2d,
    aten.roll.default: roll,
}
"""Operators over volumes."""


def substitute(module: fx.GraphModule, table: Substitutes) -> None:
    """Put in the place of each operator of the table what it names."""
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in table:
            in_place_of(module, node, table[node.target])
    tidy(module)
