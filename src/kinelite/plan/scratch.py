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
NATIVE = 20480
"""Channels x frames x rows of one clip up to which PyTorch's own kernel is taken instead of oneDNN's."""
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
        if _spreads(video, weight, groups=args[8]):
            return _columns(weight, result) + _bytes(weight) + _bytes(video)
        return _bytes(weight) + (0 if _dense(video) else _bytes(video))
    if op is _aten.convolution_backward:
        return _gradient_scratch(*args[:3], groups=args[9])
    return 0


def _gradient_scratch(gradient: Tensor, video: Tensor, weight: Tensor, groups: int) -> int:
    """Of the gradient of a convolution.

    A kernel too wide for the rest, as of patches of 16 pixels, spreads one image in each thread into columns and makes
    room for four times the weights. A wide depthwise kernel takes a way in which each channel fills a block of 16 x 16
    channels.
    """
    if _spreads(video, weight, groups):
        return _columns(weight, gradient) + _bytes(gradient)
    if weight.ndim == 4 and weight.shape[-1] > WIDEST and groups == 1:
        return torch.get_num_threads() * (_columns(weight, gradient) + 4 * _bytes(weight))
    if weight.ndim == 4 and weight.shape[-1] > WIDEST_DEPTHWISE and groups == len(weight) > 1:
        return (BLOCK**2 + 1) * _bytes(weight)
    return 2 * _bytes(weight)


def _spreads(video: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether PyTorch leaves a convolution over time and space to its own kernel, which spreads the clip into columns:
    a single small clip (use_mkldnn in ATen/native/Convolution.cpp)."""
    kernel = weight.shape[2:]
    small = len(video) == 1 and math.prod(video.shape[1:4]) <= NATIVE and min(kernel[-2:]) <= 3
    return weight.ndim == 5 and groups == 1 and math.prod(kernel) > 1 and small


def _columns(weight: Tensor, made: Tensor) -> int:
    """Bytes of one clip or image spread so that a convolution is a matrix product."""
    return math.prod(weight.shape[1:]) * math.prod(made.shape[2:]) * weight.element_size()


def _dense(tensor: Tensor) -> bool:
    fitting = _FORMATS[:1] if tensor.ndim < 4 else (_FORMATS[0], _FORMATS[tensor.ndim - 3])
    return any(tensor.is_contiguous(memory_format=form) for form in fitting)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
