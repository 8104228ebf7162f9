"""Resize, crop, flips and affine maps as one matrix, and the one resample that it takes.

Matrices are 3x3 and go from a point of the result to a point of what comes before it, in pixels counted from the
picture's corner (the first pixel's centre is at 0.5): that is the direction in which pixels are fetched.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from kinelite.data.augment.policies import Policy
from kinelite.types import Fit


class Affine(NamedTuple):
    """Parameters of torchvision's ``affine``."""

    angle: float
    """Clockwise, in radians."""
    shift: tuple[float, float]
    """Along x and y, in pixels."""
    scale: float
    shear: float
    """Along x, in radians."""


def draw_affine(policy: Policy, size: int, rng: np.random.Generator) -> Affine:
    """Parameters as RandomAffine draws them for a picture of ``size`` x ``size`` pixels."""
    angle = math.radians(rng.uniform(-policy.degrees, policy.degrees))
    reach = policy.translate * size
    shift = [float(round(rng.uniform(-reach, reach))) for _ in range(2)]
    scale = float(rng.uniform(*policy.scale))
    shear = math.radians(rng.uniform(-policy.shear, policy.shear))
    return Affine(angle, (shift[0], shift[1]), scale, shear)


def affine_inverse(affine: Affine, size: int) -> Float[np.ndarray, "3 3"]:
    """Matrix from result to picture of torchvision's affine map: shear along x, scale, turn, shift about the centre."""
    turn = np.array(
        [[math.cos(affine.angle), -math.sin(affine.angle)], [math.sin(affine.angle), math.cos(affine.angle)]]
    )
    forward = affine.scale * turn @ np.array([[1, -math.tan(affine.shear)], [0, 1]])
    return inverse_about(forward, size / 2, affine.shift)


def inverse_about(
    forward: Float[np.ndarray, "2 2"], centre: float, shift: tuple[float, float] = (0.0, 0.0)
) -> Float[np.ndarray, "3 3"]:
    """The inverse of a linear map about the point (centre, centre) followed by a shift."""
    inverse = np.eye(3)
    inverse[:2, :2] = np.linalg.inv(forward)
    inverse[:2, 2] = centre - inverse[:2, :2] @ (np.full(2, centre) + shift)
    return inverse


def placement(
    policy: Policy, height: int, width: int, size: int, flips: list[bool], fit: Fit, rng: np.random.Generator
) -> Float[np.ndarray, "3 3"]:
    """From the resized, cropped and flipped square back to the frame."""
    sides = np.array([width, height], dtype=np.float64)
    resized = size * policy.resize * (sides / sides.min() if fit == "crop" else np.ones(2))
    crops = policy.resize > 1 or policy.jitter != (1.0, 1.0)
    if policy.jitter != (1.0, 1.0):
        resized *= rng.uniform(*policy.jitter, size=2)
    spans = np.minimum(sides * size / resized, sides)
    offsets = np.zeros(2)
    if crops or fit == "crop":
        # One number serves where only the long side has room.
        offsets = (sides - spans) * rng.random(2 if crops else 1)
    matrix = np.eye(3)
    for axis, flip in enumerate(flips):
        matrix[axis, axis] = (-1 if flip else 1) * spans[axis] / size
        matrix[axis, 2] = offsets[axis] + (spans[axis] if flip else 0)
    return matrix


class Resampler:
    """Fetches a square of ``size`` pixels from frames of one size, bilinearly, what lies outside black."""

    def __init__(self, matrix: Float[np.ndarray, "2 3"], size: int, height: int, width: int) -> None:
        self.size, self.halvings = size, _halvings(matrix, (width, height))
        reduced = (width >> self.halvings[0], height >> self.halvings[1])
        self.index, self.border = _to_pixels(matrix, size, (width, height), reduced)
        # Four bytes a pixel are one load; the same warp over three takes twice the time, conversions included.
        self._four = np.empty((*reduced[::-1], 4), dtype=np.uint8)
        self._square = np.empty((size, size, 4), dtype=np.uint8)

    def __call__(self, frame: UInt8[np.ndarray, "h w 3"], into: UInt8[np.ndarray, "size size 3"]) -> None:
        """One frame's square; ``into`` lies in one piece."""
        small = _halved(np.ascontiguousarray(frame), self.halvings)
        cv2.cvtColor(small, cv2.COLOR_RGB2RGBA, dst=self._four)
        side = (self.size, self.size)
        cv2.warpAffine(self._four, self.index, side, dst=self._square, flags=_INVERSE_LINEAR, borderMode=self.border)
        cv2.cvtColor(self._square, cv2.COLOR_RGBA2RGB, dst=into)


def _halvings(matrix: Float[np.ndarray, "2 3"], sides: tuple[int, int]) -> tuple[int, int]:
    """How often width and height are halved before the warp.

    The warp looks at 2x2 pixels and would skip the rest of a much larger frame. What is left for it is a reduction by
    0.9 to 1.8. Halves, because averaging pairs is ten times faster than averaging threes.
    """
    steps = np.hypot(matrix[:, 0], matrix[:, 1])
    counts = np.clip(np.log2(steps / 0.9), 0, np.log2(sides)).astype(int)
    return int(counts[0]), int(counts[1])


def _halved(frame: UInt8[np.ndarray, "h w 3"], halvings: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    for level in range(max(halvings)):
        height, width = frame.shape[:2]
        size = (width >> (level < halvings[0]), height >> (level < halvings[1]))
        # At half the size linear interpolation is the average of two.
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return frame


_INVERSE_LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def _to_pixels(
    matrix: Float[np.ndarray, "2 3"], size: int, full: tuple[int, int], reduced: tuple[int, int]
) -> tuple[Float[np.ndarray, "2 3"], int]:
    """The matrix from pixel index to pixel index of the reduced frame, and how to continue that frame's border."""
    corners = matrix @ np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]]).T
    limits = np.array(full)[:, None]
    inside = (corners > -1e-6).all() and (corners < limits + 1e-6).all()
    index = matrix * (np.array(reduced) / np.array(full))[:, None]
    index[:, 2] += index[:, :2].sum(1) / 2 - 0.5
    # When nothing outside of the frame shows, blending its border with black would only darken the edge.
    return index, cv2.BORDER_REPLICATE if inside else cv2.BORDER_CONSTANT
