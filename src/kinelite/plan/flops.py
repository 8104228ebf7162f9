"""Floating-point operations of one PyTorch operation, two per multiply-accumulate.

PyTorch's own table, but for what it has wrong or not at all: the gradient of a convolution in groups, and attention as
a CPU computes it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

_aten = torch.ops.aten


def flops(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    """Matrix products, convolutions and attention; 0 for all else, which a roofline calls memory traffic."""
    op = func._overloadpacket
    if op is _aten.convolution_backward:
        gradient, _, weight = args[:3]
        # One product as large as the forward pass for the input's gradient, and one for the weights'.
        return 2 * gradient.numel() * math.prod(weight.shape[1:]) * sum(args[-1][:2])
    if op is _aten._scaled_dot_product_flash_attention_for_cpu:
        return sdpa_flop_count(args[0].shape, args[1].shape, args[2].shape)
    if op is _aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return sdpa_backward_flop_count(args[0].shape, args[1].shape, args[2].shape, args[3].shape)
    count = flop_registry.get(op)
    return 0 if count is None else count(*args, **kwargs, out_val=result)
