"""What a GPU would choose, on tensors that claim to lie on a CPU, so that planning for a GPU needs none.

Under autocast a GPU computes norms and softmax in fp32 where a CPU does not (PyTorch, "Automatic Mixed Precision",
op lists of CUDA and CPU). Attention takes the kernels that never hold the scores of all pairs: flash in 16 bits without
a mask, else the memory-efficient one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from kinelite.train.recompute import transformer_blocks

_IN_FP32 = {"layer_norm", "group_norm", "softmax", "log_softmax", "pow", "exp", "softplus", "norm", "cosine_similarity"}
_HALF = (torch.float16, torch.bfloat16)


class AsOnCuda(TorchFunctionMode):
    """Active around a forward pass.

    Args:
        half: the 16-bit type of autocast; None without autocast.
    """

    def __init__(self, half: torch.dtype | None) -> None:
        super().__init__()
        self._half = half

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, options = getattr(func, "__name__", ""), dict(kwargs or {})
        if name == "scaled_dot_product_attention":
            return _attention(self._half, *args, **options)
        if self._half and name in _IN_FP32:
            args = [_widened(a) for a in args]
        return func(*args, **options)


def recompute_on_cuda(model: nn.Module, half: torch.dtype | None) -> None:
    """Let blocks that are computed again choose as a GPU would then too: no mode is active in the backward pass. Call
    it before `kinelite.train.recompute.recompute`."""
    for block in transformer_blocks(model).values():
        block.forward = _with_mode(block.forward, half)


def _with_mode(forward: Callable[..., Any], half: torch.dtype | None) -> Callable[..., Any]:
    def run(*args: Any, **more: Any) -> Any:
        with AsOnCuda(half):
            return forward(*args, **more)

    return run


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALF else value


def _attention(
    half: torch.dtype | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **rest: Any,
) -> Tensor:
    if half:
        query, key, value = query.to(half), key.to(half), value.to(half)
    aten = torch.ops.aten
    if attn_mask is None and query.dtype in _HALF:
        return aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]
    if attn_mask is not None:
        bias = (
            attn_mask.to(query.dtype)
            if attn_mask.dtype != torch.bool
            else torch.zeros_like(attn_mask, dtype=query.dtype)
        )
        attn_mask = bias.expand(*query.shape[:2], query.shape[2], key.shape[2])
    trains = torch.is_grad_enabled()
    return aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, trains, dropout_p, is_causal, scale=scale
    )[0]
