"""Frames and steps in time: the pieces that operators over volumes are put together from.

A video ``[b, c, t, h, w]`` is turned into frames ``[b*t, c, h, w]`` for what happens in space, and back. What happens
in time is a choice of frames: a *step* of a window takes, for each frame of the result, one frame of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinelite.models.frames import clips_of, frames_of


def three(value: int | Sequence[int]) -> tuple[int, int, int]:
    """A size in time, height and width, however PyTorch was given it."""
    sizes = [value] if isinstance(value, int) else list(value)
    sizes = sizes * 3 if len(sizes) == 1 else sizes
    return sizes[0], sizes[1], sizes[2]


def over_frames(
    video: Float[Tensor, "b c t h w"], act: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n d h2 w2"]]
) -> Float[Tensor, "b d t h2 w2"]:
    """What an operator of images makes of every frame."""
    return clips_of(act(frames_of(video)), video.shape[0])


def windows(length: int, kernel: int, stride: int, padding: int, dilation: int = 1, *, up: bool = False) -> int:
    """Length of the result of a convolution or pooling; ``up``: a last window that is cut short counts (ceil_mode)."""
    room = length + 2 * padding - dilation * (kernel - 1) - 1
    count = (room + (stride - 1 if up else 0)) // stride + 1
    # A window that would start in the padding behind the end does not count.
    return count - 1 if up and (count - 1) * stride >= length + padding else count


def padded(x: Float[Tensor, "b c t h w"], before: int, after: int, value: float = 0.0) -> Float[Tensor, "b c t2 h w"]:
    """Frames of a constant before and after a clip; a negative count takes away."""
    return F.pad(x, (0, 0, 0, 0, before, after), value=value) if before or after else x


def steps(
    x: Float[Tensor, "b c t h w"],
    kernel: int,
    stride: int,
    padding: int,
    dilation: int = 1,
    *,
    value: float = 0.0,
    up: bool = False,
) -> list[Float[Tensor, "b c t2 h w"]]:
    """For each step of a window in time, the frames that it sees, one per window; ``value`` where there is none."""
    count = windows(x.shape[2], kernel, stride, padding, dilation, up=up)
    # So long that each step can be cut into whole strides, of which the first frame is taken.
    length = dilation * (kernel - 1) + stride * count
    wide = padded(x, padding, length - padding - x.shape[2], value)
    found = []
    for step in range(kernel):
        seen = wide[:, :, step * dilation : step * dilation + stride * count]
        found.append(_firsts(seen, count, stride) if stride > 1 else seen)
    return found


def _firsts(x: Float[Tensor, "b c t h w"], count: int, stride: int) -> Float[Tensor, "b c t2 h w"]:
    """The first frame of each stride, through five dimensions: Core ML has no more."""
    return x.flatten(3).unflatten(2, (count, stride))[:, :, :, :1].reshape(*x.shape[:2], count, *x.shape[3:])
