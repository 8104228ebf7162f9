"""Frames and pixels that a model cannot take, told with the nearest that it can."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kinelite.errors import UsageError
from kinelite.types import InputSpec


def nearest(given: int, step: int) -> str:
    """The multiples of ``step`` below and above a number that is none: '208 or 224'. Nought is left out."""
    below = max(given // step, 0) * step
    return f"{below} or {below + step}" if below else str(step)


def check_patches(who: str, size: int, patch: int) -> None:
    """Raises UsageError, in the name of ``who``, for a height and width that patches do not divide."""
    if size < patch or size % patch:
        near = nearest(size, patch)
        raise UsageError(f"{who} has patches of {patch} pixels and cannot take a size of {size}. Nearest: {near}.")


def check_video(video: Float[Tensor, "b c t h w"], spec: InputSpec) -> None:
    """Raises UsageError for other frames or pixels than the learned positions of a model are made for."""
    given, own = tuple(video.shape[2:]), (spec.frames, spec.size, spec.size)
    if given != own:
        raise UsageError(
            f"This model was built for {own[0]} frames of {own[1]} x {own[2]} pixels and got {given[0]} of "
            f"{given[1]} x {given[2]}. Build it with frames= and size= of the clips and load the weights again: "
            "positions are then resized."
        )
