"""Attention with a learned bias on the scores whose backward pass on a CPU keeps no table of scores."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 16
"""Score tables that the backward pass holds at a time: enough for the threads, few enough for the cache."""


def biased_attention(
    q: Float[Tensor, "m heads n d"],
    k: Float[Tensor, "m heads n d"],
    v: Float[Tensor, "m heads n d"],
    bias: Float[Tensor, "heads n n"],
    mask: Float[Tensor, "w n n"] | None,
) -> Float[Tensor, "m heads n d"]:
    """``softmax(q k / sqrt(d) + bias + mask) v`` for ``m`` windows; ``mask`` repeats over each ``w`` of them.

    PyTorch's fused attention on a CPU gives no gradient of a bias, and falls back to its slowest path where one is
    needed. In training on a CPU the forward pass here is the fused one, and the backward pass computes the scores
    again, a few windows at a time: as fast as keeping them, in a fraction of the memory.
    """
    if _pays(bias):
        return _Biased.apply(q, k, v, bias, mask)  # type: ignore[no-any-return]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_added(bias, mask, q.shape[0]))


def _added(bias: Tensor, mask: Tensor | None, windows: int) -> Tensor:
    if mask is None:
        return bias.unsqueeze(0)
    both = (bias + mask.unsqueeze(1)).unsqueeze(0)
    # For a single clip this is no copy; a question of how many there are would fix the batch of an exported program.
    return both.expand(windows // len(mask), -1, -1, -1, -1).flatten(0, 1)


def _pays(bias: Tensor) -> bool:
    """Whether the own backward is needed: training in fp32 on a CPU, not when a graph is written down."""
    return (
        bias.requires_grad
        and bias.device.type == "cpu"
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class _Biased(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        seen, log_sums = fused(q, k, v, attn_mask=_added(bias, mask, len(q)))
        ctx.save_for_backward(q, k, v, bias, mask, seen, log_sums)
        return seen

    # The sums of the scores are not known to autograd, so that a second derivative would be wrong: it is refused.
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, mask, seen, log_sums = ctx.saved_tensors
        to_q, to_k, to_v = (torch.empty_like(x) for x in (q, k, v))
        to_bias = torch.zeros_like(bias)
        step, scale = max(CHUNK // q.shape[1], 1), q.shape[-1] ** -0.5
        for start in range(0, len(q), step):
            part = slice(start, start + step)
            queries, keys, values, gradient = (x[part].contiguous() for x in (q, k, v, gradients[0]))
            queries = queries * scale
            scores = (queries @ keys.transpose(-2, -1)).add_(bias)
            if mask is not None:
                scores += mask[torch.arange(start, start + len(queries)) % len(mask)].unsqueeze(1)
            weights = scores.sub_(log_sums[part].unsqueeze(-1)).exp_()
            to_v[part] = weights.transpose(-2, -1) @ gradient
            level = (gradient * seen[part]).sum(-1, keepdim=True)
            to_scores = (gradient @ values.transpose(-2, -1)).sub_(level).mul_(weights)
            to_q[part] = (to_scores @ keys).mul_(scale)
            to_k[part] = to_scores.transpose(-2, -1) @ queries
            to_bias += to_scores.sum(0)
        return to_q, to_k, to_v, to_bias, None
