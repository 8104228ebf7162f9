"""The test transform: resize and crop, without chance, by the resample of the training."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from kinelite.data.augment.applied import apply
from kinelite.data.augment.draws import Draw
from kinelite.errors import UsageError
from kinelite.types import Fit


def resize(
    frames: UInt8[np.ndarray, "t 3 h w"], size: int, fit: Fit, crop: int = 0, crops: int = 1
) -> UInt8[np.ndarray, "t 3 {size} {size}"]:
    """The test transform of frames; see `fixed_draw`."""
    height, width = frames.shape[2:]
    return apply(frames, fixed_draw(height, width, size, fit, crop, crops), size)


def fixed_draw(height: int, width: int, size: int, fit: Fit, crop: int = 0, crops: int = 1) -> Draw:
    """The test transform. squash: to size x size. crop: short side to size, then a square.

    With ``crops`` > 1 it is square number ``crop`` of so many evenly spaced ones along the long side, from left or top;
    with one it is the centre. Raises UsageError for a crop that does not exist.
    """
    if not 0 <= crop < crops or (fit == "squash" and crops != 1):
        raise UsageError(f"Crop {crop} of {crops} with fit '{fit}': crops count from 0, and squash has only one.")
    sides = np.array([width, height])
    resized = np.maximum(size, np.round(sides * size / sides.min())) if fit == "crop" else np.full(2, size)
    # Squares begin at whole pixels of the resized frame, so that cutting alone changes no pixel.
    share = crop / (crops - 1) if crops > 1 else 0.5
    starts = np.round((resized - size) * share)
    matrix = np.column_stack([np.diag(sides / resized), starts * sides / resized])
    a, b, c, d, e, f = (float(v) for v in matrix.ravel())
    return Draw((height, width), size, (a, b, c, d, e, f))
