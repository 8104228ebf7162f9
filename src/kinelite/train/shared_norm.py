"""Batch norms whose statistics are those of the batch of all processes, as one process with all of it would have them.

PyTorch's SyncBatchNorm needs a GPU, and knows no process that takes part without a clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SharedNorms:
    """The batch norms of a model, changed in place: weights, names and evaluation stay as they are."""

    def __init__(self, model: nn.Module) -> None:
        self.idle = False
        """Whether this process has no clip of its own at present: then it adds nothing to the statistics."""
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.forward = self._shared(module, module.forward)

    def _shared(self, norm: _BatchNorm, alone: Callable[[Tensor], Tensor]) -> Any:
        def forward(x: Tensor) -> Tensor:
            if not norm.training:
                return alone(x)
            y = self._normalised(norm, x)
            for name in ("drop", "act"):  # what timm keeps inside of its norms
                inner: Any = getattr(norm, name, None)
                y = y if inner is None else inner(y)
            return y

        return forward

    def _normalised(self, norm: _BatchNorm, x: Float[Tensor, "b c *rest"]) -> Float[Tensor, "b c *rest"]:
        over = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        values, counts = x.float(), 0.0 if self.idle else 1.0
        size = values.new_tensor([x.numel() // x.shape[1] * counts])
        total = _Sum.apply(torch.cat([values.sum(over) * counts, size]))
        count = total[-1].detach()
        if count <= 1:
            raise ValueError("Expected more than 1 value per channel when training")
        mean = total[:-1] / count
        centred = values - mean.view(shape)
        spread = _Sum.apply(centred.square().sum(over) * counts)
        self._remember(norm, mean.detach(), (spread / (count - 1)).detach())
        y = centred * torch.rsqrt(spread / count + norm.eps).view(shape)
        if norm.affine:
            y = y * norm.weight.view(shape) + norm.bias.view(shape)
        return y.to(x.dtype)

    @staticmethod
    @torch.no_grad()
    def _remember(norm: _BatchNorm, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"]) -> None:
        if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
            return
        norm.num_batches_tracked.add_(1)
        share = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
        norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, since each of them uses it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total
