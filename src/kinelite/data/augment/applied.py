"""A draw carried out: one resample per frame, colours over many frames at once, the black box."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from kinelite.data.augment.colour import adjust
from kinelite.data.augment.draws import Draw
from kinelite.data.augment.geometry import Resampler


def apply(frames: UInt8[np.ndarray, "t 3 h w"], draw: Draw, size: int) -> UInt8[np.ndarray, "t 3 {size} {size}"]:
    """The frames of one clip under one draw; equal frames stay equal. What lies outside of a frame is black.

    Raises ValueError when the draw was made for another size of frame or result.
    """
    if draw.source != frames.shape[2:] or draw.size != size:
        raise ValueError(f"Drawn for {draw.source} -> {draw.size}, applied to {frames.shape[2:]} -> {size}.")
    if changes_nothing(draw):
        return frames
    result = np.empty((len(frames), size, size, 3), dtype=np.uint8)
    resample = resampler(draw)
    for target, source in zip(result, frames.transpose(0, 2, 3, 1), strict=True):
        resample(source, target)
    finish(result, draw)
    return result.transpose(0, 3, 1, 2)


def resampler(draw: Draw) -> Resampler:
    """What fetches the square of a draw from its frames."""
    return Resampler(np.array(draw.matrix).reshape(2, 3), draw.size, *draw.source)


def finish(squares: UInt8[np.ndarray, "t size size 3"], draw: Draw) -> None:
    """Colours and black box of a draw, in place; ``squares`` are all frames of a clip, or, with the scope of a frame,
    any of them."""
    adjust(squares, draw.colour, draw.scope)
    if draw.erase is not None:
        top, left, height, width = draw.erase
        squares[:, top : top + height, left : left + width] = 0


def changes_nothing(draw: Draw) -> bool:
    """Whether the draw gives back the frames that it gets."""
    same = np.allclose(draw.matrix, (1, 0, 0, 0, 1, 0), rtol=0, atol=1e-9) and draw.source == (draw.size, draw.size)
    return bool(same) and not draw.colour and draw.erase is None
