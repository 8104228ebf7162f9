"""Colour operations, in place on all frames of a clip, in as few passes over its bytes as their meaning allows.

Brightness, contrast and saturation are affine maps of a pixel. A factor of at most 1 draws the pixel towards black, a
mean or its own gray and cannot leave 0..255, so it is merged with whatever affine map follows; a larger factor may
clip, and the frames are written there. The result differs from rounding down after every step, as torchvision does it,
by rounding alone: 0.3 levels on average over three steps, at most 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from kinelite.data.augment import lookup

GRAY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in torchvision's gray."""
Scope = Literal["frame", "clip"]

_I, _GRAY = np.eye(3), np.array([GRAY] * 3)


class Affine(NamedTuple):
    """``matrix @ pixel + of_mean @ (mean pixel) + constant``; may it leave 0..255?"""

    matrix: Float[np.ndarray, "3 3"]
    of_mean: Float[np.ndarray, "3 3"] | None
    constant: float
    clips: bool


# Torchvision rounds down after each step, and down to a whole gray before: half a level on average.
def _brightness(factor: float) -> Affine:
    return Affine(factor * _I, None, -0.5, factor > 1)


def _contrast(factor: float) -> Affine:
    return Affine(factor * _I, (1 - factor) * _GRAY, -0.5 - (1 - factor) / 2, factor > 1)


def _saturation(factor: float) -> Affine:
    return Affine(factor * _I + (1 - factor) * _GRAY, None, -0.5 - (1 - factor) / 2, factor > 1)


# TensorFlow computes in floating point and rounds once.
def _add(share: float) -> Affine:
    return Affine(_I, None, 255 * share, True)


def _contrast_rgb(factor: float) -> Affine:
    return Affine(factor * _I, (1 - factor) * _I, 0.0, factor > 1)


def _gray(_: float) -> Affine:
    return Affine(_GRAY, None, 0.0, False)


AFFINE: Mapping[str, Callable[[float], Affine]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "add": _add,
    "contrast_rgb": _contrast_rgb,
    "gray": _gray,
}


class _Pending:
    """Affine maps that were asked for and not yet carried out."""

    def __init__(self, frames: UInt8[np.ndarray, "t h w 3"], scope: Scope) -> None:
        self.frames = frames
        self.scope: Scope = scope
        self._clear()

    def _clear(self) -> None:
        self.empty, self.matrix = True, _I
        self.offsets, self.means = np.zeros((len(self.frames), 3)), None

    def push(self, step: Affine) -> None:
        """Merge one more; carried out at once if it may clip."""
        offsets = self.offsets @ step.matrix.T + step.constant
        if step.of_mean is not None:
            if self.means is None:
                self.means = _means(self.frames, self.scope)
            offsets += (self.means @ self.matrix.T + self.offsets) @ step.of_mean.T
        self.matrix, self.offsets, self.empty = step.matrix @ self.matrix, offsets, False
        if step.clips:
            self.flush()

    def flush(self) -> None:
        """Carry out what is pending: one pass."""
        if self.empty:
            return
        # Half levels go up, so that a factor of 1 changes nothing.
        rows = np.concatenate(
            [np.broadcast_to(self.matrix, (len(self.frames), 3, 3)), self.offsets[..., None] + 0.01], 2
        )
        if (self.offsets == self.offsets[0]).all():
            cv2.transform(_tall(self.frames), rows[0], dst=_tall(self.frames))
        else:
            for frame, row in zip(self.frames, rows, strict=True):
                cv2.transform(frame, row, dst=frame)
        self._clear()


def _means(frames: UInt8[np.ndarray, "t h w 3"], scope: Scope) -> Float[np.ndarray, "t 3"]:
    means = np.array([cv2.mean(frame)[:3] for frame in frames])
    return means if scope == "frame" else np.broadcast_to(means.mean(axis=0), means.shape)


def _tall(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "th w 3"]:
    """All frames as one tall picture, without copying: one call instead of one per frame."""
    return frames.reshape(-1, *frames.shape[2:])


def _hue(frames: UInt8[np.ndarray, "t h w 3"], turn: float) -> None:
    """Turn the colour circle, in its 256 steps."""
    tall = _tall(frames)
    hsv = cv2.cvtColor(tall, cv2.COLOR_RGB2HSV_FULL)
    rows = hsv.reshape(len(hsv), -1)
    rows += np.tile(np.array([round(turn * 256) % 256, 0, 0], dtype=np.uint8), hsv.shape[1])
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=tall)


def _saturation_hsv(frames: UInt8[np.ndarray, "t h w 3"], factor: float) -> None:
    """Scale the saturation of HSV; the largest channel keeps its level."""
    tall = _tall(frames)
    table = np.repeat(np.arange(256.0)[:, None], 3, axis=1)
    table[:, 1] = np.clip(table[:, 1] * factor, 0, 255).round()
    hsv = cv2.LUT(cv2.cvtColor(tall, cv2.COLOR_RGB2HSV_FULL), table.astype(np.uint8)[None])
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=tall)


def _sharpness(frames: UInt8[np.ndarray, "t h w 3"], factor: float) -> None:
    """PIL's: away from, or towards, a 3x3 average that counts the middle five times; the border stays."""
    kernel = np.full((3, 3), (1 - factor) / 13)
    kernel[1, 1] = factor + (1 - factor) * 5 / 13
    for frame in frames:
        if min(frame.shape[:2]) > 2:
            # Rounded down, as torchvision does it.
            frame[1:-1, 1:-1] = cv2.filter2D(frame, -1, kernel, delta=-0.49)[1:-1, 1:-1]


def _cutout(frames: UInt8[np.ndarray, "t h w 3"], box: tuple[int, int, int, int]) -> None:
    top, left, height, width = box
    frames[:, top : top + height, left : left + width] = 0


_OTHER: Mapping[str, Callable[..., None]] = {
    "hue": _hue,
    "saturation_hsv": _saturation_hsv,
    "sharpness": _sharpness,
    "cutout": _cutout,
}


def _look_up(frames: UInt8[np.ndarray, "t h w 3"], name: str, value: Any, scope: Scope) -> None:
    if name in lookup.FIXED:
        cv2.LUT(_tall(frames), lookup.FIXED[name](value), dst=_tall(frames))
        return
    for picture in [_tall(frames)] if scope == "clip" else frames:
        cv2.LUT(picture, lookup.MEASURED[name](picture)[None], dst=picture)


def adjust(frames: UInt8[np.ndarray, "t h w 3"], steps: tuple[tuple[str, Any], ...], scope: Scope = "frame") -> None:
    """Change the colours of a clip in place, operation by operation.

    ``frames`` lie in one piece. ``scope`` says over what contrast, autocontrast and equalize take their statistics.
    """
    pending = _Pending(frames, scope)
    for name, value in steps:
        if name in AFFINE:
            pending.push(AFFINE[name](value))
            continue
        pending.flush()
        if name in _OTHER:
            _OTHER[name](frames, value)
        else:
            _look_up(frames, name, value, scope)
    pending.flush()
