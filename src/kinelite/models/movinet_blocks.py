"""Blocks of MoViNet (2103.11511): convolutions with folded norms, gates, bottlenecks; all of them upside down.

TensorFlow's SAME padding puts the odd zero at the end. Everything here sees images turned by 180 degrees and turns its
kernels with them: the odd zero is then at the start, and that is what PyTorch's padding by half of the kernel does with
stride 2. The models turn what comes in (`turned`); means do not mind.

Base blocks hold clips ``[b, c, t, h, w]`` and stream blocks frames ``[b*t, c, h, w]``, both with channels last in
memory: the same numbers in the same order, and the one in which a CPU runs 1x1 and depthwise convolutions fastest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.drop import DropPath
from timm.layers.helpers import make_divisible
from torch import Tensor, nn

from kinelite.models.conv_norm import folded
from kinelite.models.depthwise import depthwise_conv3d
from kinelite.models.frames import clips_of, frames_of

Maps = Float[Tensor, "n c *t h w"]
"""A clip, or frames; the last two axes are space."""
NewMaps = Float[Tensor, "n c2 *t h2 w2"]
"""What became of them."""
Vectors = Float[Tensor, "n *t c"]
NewVectors = Float[Tensor, "n *t c2"]
Activation = Callable[..., Tensor]


@dataclass(frozen=True)
class BlockPlan:
    """One line of the paper's tables."""

    before: int
    """Channels of the input."""
    wide: int
    """Channels inside."""
    after: int
    """Channels of the output."""
    time: int
    """Length of the depthwise kernel in frames."""
    kernel: int
    """Height and width of the depthwise kernel."""
    stride: int
    """In space."""


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, activation; on turned images it pads as TensorFlow's SAME does on others.

    A norm that is not learning is folded into the convolution, which spares a pass over the result.
    """

    def __init__(self, conv: nn.Conv2d | nn.Conv3d, activation: Activation | None) -> None:
        super().__init__()
        self.conv = conv
        # Clips are normed as frames: equal, and faster backwards. Keras counts its momentum from the other end: 0.99.
        self.norm = nn.BatchNorm2d(conv.out_channels, eps=1e-3, momentum=0.01)
        self.activation = activation

    def forward(self, x: Maps, gain: Float[Tensor, ""] | None = None) -> NewMaps:
        """Height and width divided by the stride, rounded up. A ``gain`` multiplies what comes out of the norm."""
        learning = self.norm.training
        if learning:
            weight, bias = self.conv.weight, None
        else:
            weight, bias = self.folded(gain)
        y = self._convolved(x, weight, bias)
        if learning:
            y = self.norm(y) if y.ndim == 4 else clips_of(self.norm(frames_of(y)), len(y))
            y = y if gain is None else y * gain
        if self.activation is None:
            return y
        return self.activation(y, inplace=not torch.is_grad_enabled())  # backward needs what would be overwritten

    def folded(self, gain: Float[Tensor, ""] | None = None) -> tuple[Tensor, Float[Tensor, " c"]]:
        """Weight and bias of the convolution that does the work of the norm, and of ``gain``, as well."""
        scale, bias = folded(self.norm)
        if gain is not None:
            scale, bias = scale * gain, bias * gain
        return self.conv.weight * scale.reshape(-1, *[1] * (self.conv.weight.ndim - 1)), bias

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        stride, groups, (height, width) = self.conv.stride[-1], self.conv.groups, weight.shape[-2:]
        weight = turned(weight) if height > 1 else weight
        if weight.ndim == 4:
            return F.conv2d(x, weight, bias, stride, (height // 2, width // 2), groups=groups)
        if weight.shape[2] == 1:
            # Frame by frame it is the same in two dimensions, which PyTorch does faster on a CPU.
            flat = F.conv2d(frames_of(x), weight[:, :, 0], bias, stride, (height // 2, width // 2), groups=groups)
            return clips_of(flat, x.shape[0])
        if torch.is_grad_enabled():
            y = depthwise_conv3d(x, weight, stride)
            return y if bias is None else y + bias[:, None, None, None]
        pads = [size // 2 for size in weight.shape[2:]]
        return F.conv3d(x, weight, bias, (1, stride, stride), pads, groups=groups)


def turned(images: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n h w"]:
    """By 180 degrees; or kernels."""
    return images.flip(-2, -1)


def average_pool(x: Maps) -> Float[Tensor, "n c *t h2 w2"]:
    """Mean of 3x3 pixels with stride 2 in space, of those pixels only that are inside."""
    frames = x if x.ndim == 4 else frames_of(x)
    pooled = F.avg_pool2d(frames, 3, 2, 1, count_include_pad=False)
    return pooled if x.ndim == 4 else clips_of(pooled, x.shape[0])


class Gate(nn.Module):
    """Squeeze and excite: from means to one factor per channel."""

    def __init__(self, means: int, narrow: int, channels: int, inner: Activation, outer: Activation) -> None:
        super().__init__()
        self.reduce = nn.Linear(means, narrow)
        self.expand = nn.Linear(narrow, channels)
        self.inner, self.outer = inner, outer

    def forward(self, means: Vectors) -> NewVectors:
        """Factors from 0 to 1."""
        return self.outer(self.expand(self.inner(self.reduce(means))))


class Bottleneck(nn.Module):
    """What both kinds of block share: expand, project, times a learned gain that starts at 0, add.

    What a subclass puts between the first two is `depthwise` and `gate`.
    """

    def __init__(self, plan: BlockPlan, drop_path: float, activation: Activation, *, frames: bool) -> None:
        super().__init__()
        self.plan = plan
        self.expand = pointwise(plan.before, plan.wide, activation, frames=frames)
        self.project = pointwise(plan.wide, plan.after, None, frames=frames)
        changes = plan.stride > 1 or plan.before != plan.after
        self.skip = pointwise(plan.before, plan.after, None, frames=frames) if changes else None
        self.gain = nn.Parameter(torch.zeros(()))
        self.drop_path = DropPath(drop_path)

    def joined(self, x: Maps, y: NewMaps, length: int = 1) -> Float[Tensor, "n c3 *t h2 w2"]:
        """The projection of ``y`` added to what goes around the block; ``length`` of ``n`` are one clip."""
        around = x
        if self.skip is not None:
            around = self.skip(average_pool(x) if self.plan.stride > 1 else x)
        y = self.project(y, self.gain)
        if self.training:
            # Clips are dropped, not frames.
            y = self.drop_path(y.unflatten(0, (-1, length))).flatten(0, 1)
        return y + around if torch.is_grad_enabled() else y.add_(around)


class ClipBottleneck(Bottleneck):
    """The block of the base models: one kernel in space and time, and a gate from the mean of the clip."""

    def __init__(self, plan: BlockPlan, drop_path: float) -> None:
        super().__init__(plan, drop_path, F.silu, frames=False)
        kernel, stride = (plan.time, plan.kernel, plan.kernel), (1, plan.stride, plan.stride)
        conv = nn.Conv3d(plan.wide, plan.wide, kernel, stride, groups=plan.wide, bias=False)
        self.depthwise = ConvNorm(conv, F.silu)
        self.gate = Gate(plan.wide, make_divisible(plan.wide / 4), plan.wide, F.silu, torch.sigmoid)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c2 t h2 w2"]:
        """Half the height and width, rounded up, where the stride is 2."""
        y = self.depthwise(self.expand(x))
        return self.joined(x, gated(y, self.gate(y.mean(dim=(2, 3, 4)))))


def gated(x: Maps, gate: Float[Tensor, "n c"]) -> Maps:
    """Each channel times its factor, ``[n, c]`` for maps ``[n, c, ...]``; in place where nothing is lost by it."""
    gate = gate.reshape(*gate.shape, *[1] * (x.ndim - gate.ndim))
    return x * gate if torch.is_grad_enabled() else x.mul_(gate)


def pointwise(before: int, after: int, activation: Activation | None, *, frames: bool = False) -> ConvNorm:
    """A 1x1 convolution of clips, or of frames."""
    return ConvNorm((nn.Conv2d if frames else nn.Conv3d)(before, after, 1, bias=False), activation)
