"""Clips as batches of frames and back: where channels are last in memory, both are views."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def frames_of(video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b*t c h w"]:
    """The frames of all clips as one batch, clip by clip, with channels last in memory; of one clip always a view.

    Permuted first: PyTorch tells the order in memory by the strides, those of a single clip or frame too.
    """
    b, c, t, h, w = video.shape
    return video.permute(0, 2, 3, 4, 1).reshape(b * t, h, w, c).permute(0, 3, 1, 2)


def clips_of(frames: Float[Tensor, "n c h w"], count: int) -> Float[Tensor, "b c t h w"]:
    """A batch of frames as ``count`` clips, a view."""
    _, c, h, w = frames.shape
    return frames.permute(0, 2, 3, 1).reshape(count, -1, h, w, c).permute(0, 4, 1, 2, 3)
