"""Causal blocks of MoViNet stream: space, then time over past frames, and means that run along the clip.

Over a clip all frames are computed at once; in a step, one frame is, and past frames and sums come from the state.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.helpers import make_divisible
from torch import Tensor, nn

from kinelite.models.movinet_blocks import BlockPlan, Bottleneck, ConvNorm, Gate, gated
from kinelite.models.streaming import State

Frames = Float[Tensor, "n c h w"]
"""``n`` is clips times frames, in a step clips."""
NewFrames = Float[Tensor, "n c2 h2 w2"]
Count = Float[Tensor, "n 1 1 1"]


class CausalConv(ConvNorm):
    """One kernel per channel along time, of this frame and the ``length - 1`` frames before it."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__(nn.Conv2d(channels, channels, (length, 1), groups=channels, bias=False), F.hardswish)
        self.past = length - 1

    def forward(self, frames: Frames, length: int) -> Frames:
        """Along clips of ``length`` frames; before the first one there are zeros."""
        c, h, w = frames.shape[1:]
        # Channels last, [b*t, c, h, w] and [b, c, t, h*w] are the same memory. PyTorch tells the order by the strides,
        # which are the usual ones, of a single clip too, if channels are the last axis while others are joined.
        rows = frames.permute(0, 2, 3, 1).reshape(-1, length, h * w, c).permute(0, 3, 1, 2)
        learning = self.norm.training
        weight, bias = (self.conv.weight, None) if learning else self.folded()
        y = F.conv2d(F.pad(rows, (0, 0, self.past, 0)), weight, bias, groups=self.conv.groups)
        y = F.hardswish(self.norm(y) if learning else y, inplace=not torch.is_grad_enabled())
        return y.permute(0, 2, 3, 1).reshape(-1, h, w, c).permute(0, 3, 1, 2)

    def step(self, frame: Frames, past: Sequence[Frames]) -> Frames:
        """For one frame, given those before it, oldest first."""
        weight, bias = self.folded()
        y = bias[:, None, None]
        for position, image in enumerate((*past, frame)):
            y = torch.addcmul(y, image, weight[None, :, 0, position, :, None])
        return F.hardswish(y, inplace=not torch.is_grad_enabled())


class StreamBottleneck(Bottleneck):
    """The block of the stream models: space and time one after the other, and a gate for each frame.

    The gate sees the mean of all frames until now beside the mean of this one.
    """

    def __init__(self, plan: BlockPlan, drop_path: float) -> None:
        super().__init__(plan, drop_path, F.hardswish, frames=True)
        wide = plan.wide
        self.depthwise = ConvNorm(nn.Conv2d(wide, wide, plan.kernel, plan.stride, groups=wide, bias=False), F.hardswish)
        self.temporal = CausalConv(wide, plan.time) if plan.time > 1 else None
        # relu6(x + 3) / 6, see `kinelite.models.checkpoints.movinet`.
        self.gate = Gate(2 * wide, make_divisible(wide / 2), wide, F.hardswish, F.hardsigmoid)

    def forward(self, frames: Frames, length: int) -> NewFrames:
        """Over clips of ``length`` frames."""
        y = self.depthwise(self.expand(frames))
        if self.temporal is not None:
            y = self.temporal(y, length)
        means = y.mean(dim=(2, 3)).unflatten(0, (-1, length))
        gate = self.gate(torch.cat([running_means(means), means], dim=-1))
        return self.joined(frames, gated(y, gate.flatten(0, 1)), length)

    def step(self, frame: Frames, state: State, count: Count) -> tuple[NewFrames, State]:
        """One frame, given the frames that the temporal convolution looks back to and the sum of means until then."""
        *past, total = state
        y = self.depthwise(self.expand(frame))
        if self.temporal is not None:
            seen = (*past, y)
            y, past = self.temporal.step(y, past), list(seen[1:])
        mean = y.mean(dim=(2, 3), keepdim=True)
        total = total + mean
        gate = self.gate(torch.cat([(total / count).to(mean.dtype), mean], dim=1).flatten(1))
        return self.joined(frame, gated(y, gate)), (*past, total)


def running_means(means: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
    """Mean of the frames until each frame."""
    wide = summing(means.dtype)
    counts = torch.arange(1, means.shape[1] + 1, device=means.device, dtype=wide)
    return (means.cumsum(dim=1, dtype=wide) / counts[:, None]).to(means.dtype)


def summing(kind: torch.dtype) -> torch.dtype:
    """What frames of a type are counted and summed in, never less than fp32: bf16 cannot count beyond 256."""
    return torch.promote_types(kind, torch.float32)


def zeros(one: Tensor, shapes: Sequence[tuple[int, ...]], plans: Sequence[BlockPlan]) -> State:
    """The state before the first frame, where the weights are, past frames in the type of ``one``."""
    wide = summing(one.dtype)
    kinds = [wide]
    for plan in plans:
        kinds += [*[one.dtype] * (plan.time - 1), wide]
    return tuple(one.new_zeros(shape, dtype=kind) for shape, kind in zip(shapes, [*kinds, wide], strict=True))
