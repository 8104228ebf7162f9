"""Colour operations that look each level up in a table: posterize, solarize, invert, autocontrast, equalize."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

_LEVELS = np.arange(256)


def posterize(bits: float) -> UInt8[np.ndarray, " levels"]:
    """Keep the highest ``bits`` of eight."""
    return (_LEVELS & (0xFF00 >> int(bits)) & 0xFF).astype(np.uint8)


def solarize(threshold: float) -> UInt8[np.ndarray, " levels"]:
    """Invert what is not below the threshold."""
    return np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS).astype(np.uint8)


def solarize_add(amount: float) -> UInt8[np.ndarray, " levels"]:
    """Add to what is below the middle."""
    return np.where(_LEVELS < 128, np.clip(_LEVELS + amount, 0, 255), _LEVELS).astype(np.uint8)


def invert(_: float = 0.0) -> UInt8[np.ndarray, " levels"]:
    """Levels from the other end."""
    return (255 - _LEVELS).astype(np.uint8)


def autocontrast(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "levels 3"]:
    """Stretch each channel to the full range; a channel of one level stays."""
    # The extremes of columns are found eight times faster than those along an axis of three.
    low = picture.min(axis=0).min(axis=0).astype(np.float32)
    high = picture.max(axis=0).max(axis=0).astype(np.float32)
    flat = low == high
    scale = np.where(flat, 1, (high - low) * np.float32(1 / 255))
    stretched = (_LEVELS[:, None] - np.where(flat, 0, low)) / scale
    return np.clip(stretched.astype(np.float32), 0, 255).astype(np.uint8)


def equalize(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "levels 3"]:
    """Even out each channel's histogram by PIL's rule; a channel of almost one level stays."""
    return np.stack([_equalize(picture, channel) for channel in range(3)], axis=1)


def _equalize(picture: UInt8[np.ndarray, "h w 3"], channel: int) -> UInt8[np.ndarray, " levels"]:
    counts = cv2.calcHist([picture], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
    step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    if step == 0:
        return _LEVELS.astype(np.uint8)
    below = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.clip((below + step // 2) // step, 0, 255).astype(np.uint8)


FIXED = {"posterize": posterize, "solarize": solarize, "solarize_add": solarize_add, "invert": invert}
MEASURED = {"autocontrast": autocontrast, "equalize": equalize}
