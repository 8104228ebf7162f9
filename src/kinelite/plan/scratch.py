"""What the CPU's kernels allocate beside their results, as PyTorch's profiler shows it (docs/plan.md)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten
_FORMATS = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)


def cpu_scratch(func: Any, args: tuple[Any, ...], result: Any) -> int:
    """Bytes that the kernel of an operation takes while it runs, beside its results.

    oneDNN puts the weights of a convolution into an order of its own: one copy forward, two for their gradient. An
    input in none of PyTorch's orders is copied first. The gradient of a convolution over time and space spreads one
    clip into columns.
    """
    op = func._overloadpacket
    if op is _aten.convolution:
        video, weight = args[:2]
        return _bytes(weight) + (0 if _dense(video) else _bytes(video))
    if op is _aten.convolution_backward:
        gradient, _, weight = args[:3]
        if weight.ndim == 5 and math.prod(weight.shape[2:]) > 1 and args[9] == 1:
            columns = math.prod(weight.shape[1:]) * math.prod(gradient.shape[2:]) * weight.element_size()
            return columns + _bytes(gradient)
        return 2 * _bytes(weight)
    return 0


def _dense(tensor: Tensor) -> bool:
    fitting = _FORMATS[:1] if tensor.ndim < 4 else (_FORMATS[0], _FORMATS[tensor.ndim - 3])
    return any(tensor.is_contiguous(memory_format=form) for form in fitting)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
