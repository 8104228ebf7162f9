"""The test transform: resize and crop, without chance."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from kinelite.errors import UsageError
from kinelite.types import Fit


def resize(
    frames: UInt8[np.ndarray, "t c h w"], size: int, fit: Fit, crop: int = 0, crops: int = 1
) -> UInt8[np.ndarray, "t c {size} {size}"]:
    """The test transform. squash: to size x size. crop: short side to size, then a square.

    With ``crops`` > 1 it is square number ``crop`` of so many evenly spaced ones along the long side, from left or top;
    with one it is the centre. Raises UsageError for a crop that does not exist.
    """
    if not 0 <= crop < crops or (fit == "squash" and crops != 1):
        raise UsageError(f"Crop {crop} of {crops} with fit '{fit}': crops count from 0, and squash has only one.")
    height, width = frames.shape[2:]
    scale = size / min(height, width)
    tall, wide = (
        (size, size) if fit == "squash" else (max(size, round(height * scale)), max(size, round(width * scale)))
    )
    share = crop / (crops - 1) if crops > 1 else 0.5
    top, left = round((tall - size) * share), round((wide - size) * share)
    result = np.empty((len(frames), size, size, frames.shape[1]), dtype=np.uint8)
    for target, source in zip(result, frames.transpose(0, 2, 3, 1), strict=True):
        scaled = _scale(np.ascontiguousarray(source), tall, wide)
        target[:] = scaled[top : top + size, left : left + size].reshape(target.shape)
    return result.transpose(0, 3, 1, 2)


def _scale(frame: UInt8[np.ndarray, "h w c"], height: int, width: int) -> UInt8[np.ndarray, "tall wide *channels"]:
    """Shrink by averaging over areas, grow by linear interpolation; an axis each where they differ."""
    less = (min(height, frame.shape[0]), min(width, frame.shape[1]))
    if less != frame.shape[:2]:
        frame = cv2.resize(frame, less[::-1], interpolation=cv2.INTER_AREA)
    if less != (height, width):
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return frame
