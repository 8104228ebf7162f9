"""Operators that a runtime lacks or does slowly, each with what takes its place. A new one is a line of the table."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, fx

from kinelite.export.conv3d import conv3d
from kinelite.export.graph import Node, aten, in_place_of, tidy, value
from kinelite.export.pool3d import adaptive_avg_pool3d, avg_pool3d, max_pool3d
from kinelite.models.frames import frames_of


def attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m e"],
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "*b n e"]:
    """Scores, softmax, product, of matrices in one row. PyTorch's own way for runtimes scales queries and keys both,
    and looks for rows without a score."""
    assert max(is_causal, enable_gqa, dropout_p) == 0, "attention of no model here"
    rows = [x.flatten(0, -3) for x in (q, k, v)]
    scores = torch.bmm(rows[0] * (q.shape[-1] ** -0.5 if scale is None else scale), rows[1].transpose(1, 2))
    if attn_mask is not None:
        assert attn_mask.is_floating_point(), "a mask of scores, not of places, in all models here"
        scores = (scores.unflatten(0, q.shape[:-2]) + attn_mask).flatten(0, -3)
    return torch.bmm(scores.softmax(-1), rows[2]).unflatten(0, q.shape[:-2])


def mean(x: Tensor, dim: Any, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of a clip as that of each frame, and then over the frames: pooling of images."""
    if x.ndim == 4 and sorted(d % 4 for d in dim or ()) == [2, 3] and not keepdim and dtype is None:
        return x.mean((2, 3), keepdim=True).flatten(1)
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
    parts = [wide[:, :, row : row + length] * weight[:, :, row, :, None].flatten(0, 1) for row in range(rows)]
    total = functools.reduce(torch.add, parts)
    return total if bias is None else total + bias[:, None, None]


def avg_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Zeros that count are put around the maps first; XNNPACK's pooling has only those that do not."""
    if any(padding) and count_include_pad and not ceil_mode:
        height, width = (*padding, *padding)[:2]
        x, padding = F.pad(x, (width, width, height, height)), 0
    return F.avg_pool2d(x, kernel_size, stride or None, padding, ceil_mode, count_include_pad, divisor_override)


def roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    """A shift around the ends, as two pieces that change places."""
    assert len(dims) == len(shifts), "a shift of all numbers in a row"
    for shift, dim in zip(shifts, dims, strict=True):
        length = x.shape[dim]
        if cut := (length - shift) % length:
            x = torch.cat([_part(x, dim, cut, length), _part(x, dim, 0, cut)], dim)
    return x


def select(x: Tensor, dim: int, index: int) -> Tensor:
    """One place of a dimension, as a slice: unlike PyTorch's own operator it goes through rearrangements."""
    start = index % x.shape[dim]
    return _part(x, dim, start, start + 1).squeeze(dim)


def unbind(x: Tensor, dim: int = 0) -> list[Tensor]:
    """All places of a dimension."""
    return [select(x, dim, index) for index in range(x.shape[dim])]


def split(x: Tensor, size: int | Sequence[int], dim: int = 0) -> list[Tensor]:
    """Slices one after the other, all of a size or each of its own."""
    length = x.shape[dim]
    sizes = [min(size, length - start) for start in range(0, length, size)] if isinstance(size, int) else size
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [_part(x, dim, end - own, end) for own, end in zip(sizes, ends, strict=True)]


def chunk(x: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    """As many slices of equal length."""
    return split(x, -(-x.shape[dim] // chunks), dim)


def index(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """Columns of a table, as rows of the table turned: whole rows are copied, not single numbers."""
    if x.ndim != 2 or len(indices) != 2 or indices[0] is not None or indices[1] is None:
        return aten.index.Tensor(x, indices)
    rows = x.t().index_select(0, indices[1].flatten())
    return rows.t().unflatten(1, indices[1].shape)


def std_mean(
    x: Tensor, dim: Any, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """Spread and mean, by their definitions."""
    correction = int(unbiased) if correction is None else correction
    middle = x.mean(dim, keepdim=True)
    count = x.numel() / middle.numel() - correction
    std = ((x - middle) ** 2).sum(dim, keepdim=keepdim).div(count).sqrt()
    return std, middle if keepdim else x.mean(dim)


def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Length of vectors."""
    if ord != 2 or dtype is not None:
        return aten.linalg_vector_norm.default(x, ord, dim, keepdim, dtype=dtype)
    return (x * x).sum(dim, keepdim=keepdim).sqrt()


def addcmul(x: Tensor, left: Tensor, right: Tensor, *, value: float = 1) -> Tensor:
    """A product and a sum."""
    return x + (left * right if value == 1 else left * right * value)


def _part(x: Tensor, dim: int, start: int, end: int) -> Tensor:
    return x[(slice(None),) * (dim % x.ndim) + (slice(start, end),)]


Substitutes = Mapping[Any, Callable[..., Any]]
TABLE: Substitutes = {
    aten.conv3d.default: conv3d,
    aten.conv3d.padding: conv3d,
    aten.max_pool3d.default: max_pool3d,
    aten.avg_pool3d.default: avg_pool3d,
    aten.adaptive_avg_pool3d.default: adaptive_avg_pool3d,
    aten.mean.dim: mean,
    aten.conv2d.default: conv2d,
    aten.avg_pool2d.default: avg_pool2d,
    aten.roll.default: roll,
    aten.scaled_dot_product_attention.default: attention,
    aten.select.int: select,
    aten.unbind.int: unbind,
    aten.split_with_sizes.default: split,
    aten.split.Tensor: split,
    aten.split.sizes: split,
    aten.chunk.default: chunk,
    aten.index.Tensor: index,
    aten.std_mean.dim: std_mean,
    aten.std_mean.correction: std_mean,
    aten.linalg_vector_norm.default: vector_norm,
    aten.addcmul.default: addcmul,
}


def substitute(module: fx.GraphModule, table: Substitutes = TABLE) -> None:
    """Put in the place of each operator of the table what it names."""
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in table and not _stays(node):
            in_place_of(module, node, table[node.target])
    tidy(module)


def _stays(node: Node) -> bool:
    """A convolution that mixes columns, too: most do, and each would be traced to no effect."""
    return node.target is aten.conv2d.default and not (value(node.args[1]).shape[3] == 1 < value(node.args[1]).shape[2])
