"""What the CPU's kernels allocate beside their results, as PyTorch's profiler shows it (docs/plan-accuracy.md)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten
_FORMATS = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)
WIDEST, WIDEST_DEPTHWISE = 14, 3
"""Widest kernels whose gradient oneDNN (of torch 2.15, with AVX-512) computes by its own code for them."""
BLOCK = 16
"""Channels of a block in oneDNN's orders of weights."""


def cpu_scratch(func: Any, args: tuple[Any, ...], result: Any) -> int:
    """Bytes that the kernel of an operation takes while it runs, beside its results.

    oneDNN puts the weights of a convolution into an order of its own: one copy forward, two for their gradient. An
    input in none of PyTorch's orders is copied first.
    """
    op = func._overloadpacket
    if op is _aten.convolution:
        video, weight = args[:2]
        return _bytes(weight) + (0 if _dense(video) else _bytes(video))
    if op is _aten.convolution_backward:
        gradient, _, weight = args[:3]
        return _gradient_scratch(gradient, weight, groups=args[9])
    return 0


def _gradient_scratch(gradient: Tensor, weight: Tensor, groups: int) -> int:
    """Of the gradient of a convolution.

    Over time and space it spreads one clip into columns. So does that of a kernel too wide for the rest, as of patches
    of 16 pixels: one image in each thread, with room for four times the weights. A wide depthwise kernel takes a way
    in which each channel fills a block of 16 x 16 channels.
    """
    columns = math.prod(weight.shape[1:]) * math.prod(gradient.shape[2:]) * weight.element_size()
    if weight.ndim == 5 and math.prod(weight.shape[2:]) > 1 and groups == 1:
        return columns + _bytes(gradient)
    if weight.ndim == 4 and weight.shape[-1] > WIDEST and groups == 1:
        return torch.get_num_threads() * (columns + 4 * _bytes(weight))
    if weight.ndim == 4 and weight.shape[-1] > WIDEST_DEPTHWISE and groups == len(weight) > 1:
        return (BLOCK**2 + 1) * _bytes(weight)
    return 2 * _bytes(weight)


def _dense(tensor: Tensor) -> bool:
    fitting = _FORMATS[:1] if tensor.ndim < 4 else (_FORMATS[0], _FORMATS[tensor.ndim - 3])
    return any(tensor.is_contiguous(memory_format=form) for form in fitting)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
