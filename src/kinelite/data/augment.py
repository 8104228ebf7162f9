"""Augmentation: one random draw per clip, one resample per frame, uint8 from end to end; and the test transform.

The policies are those of *Evaluating Transformers for Lightweight Action Recognition*, appendix B.1 to B.3, whose
values are torchvision's parameters: Resize, RandomHorizontalFlip, RandomVerticalFlip, RandomAffine, ColorJitter,
RandomErasing. Resize, flips and affine are one matrix here, so each output pixel is interpolated once (bilinear, where
torchvision's RandomAffine takes the nearest pixel by default). Frames may be views of ``[t, h, w, c]`` memory, which
is the fast case; so are the results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from kinelite.errors import UsageError, unknown
from kinelite.types import Fit

GRAY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in torchvision's gray."""


@dataclass(frozen=True)
class Policy:
    """Ranges that a clip's augmentation is drawn from, in the meaning of torchvision's transforms."""

    hflip: float = 0.0
    """Probability of mirroring left and right."""
    vflip: float = 0.0
    """Probability of mirroring top and bottom."""
    degrees: float = 0.0
    """Largest rotation to either side, in degrees."""
    translate: float = 0.0
    """Largest shift along either axis, as a share of the picture."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of magnification."""
    shear: float = 0.0
    """Largest shear along x to either side, in degrees."""
    brightness: float = 0.0
    """The factor is drawn from 1 minus to 1 plus this; so are those of contrast and saturation."""
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    """Largest turn of the colour circle to either side, as a share of it."""
    erase_p: float = 0.0
    """Probability that a box is blackened, the same in all frames."""
    erase_scale: tuple[float, float] = (0.05, 0.1)
    """Range of the box's area, as a share of the picture."""
    erase_ratio: tuple[float, float] = (0.3, 3.3)
    """Range of the box's height divided by its width (uniform in the logarithm)."""


_SSV2 = Policy(
    degrees=15.0,
    translate=0.15,
    scale=(0.85, 1.15),
    shear=15.0,
    brightness=0.35,
    contrast=0.35,
    saturation=0.2,
    hue=0.1,
    erase_p=0.7,
)

POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "none": Policy(),
        "flip": Policy(hflip=0.5),
        "lightweight_kinetics": Policy(**{**vars(_SSV2), "hflip": 0.5, "degrees": 10.0}),
        "lightweight_ssv2": _SSV2,
        "lightweight_epic": Policy(**{**vars(_SSV2), "hflip": 0.5, "vflip": 0.5}),
    }
)
"""none only resizes; flip also mirrors half of the clips, for small sets that train for few steps; the others are
appendix B.3 (Kinetics-400), B.2 (Something-Something V2) and B.1 (EPIC-Kitchens-100)."""


def policy(name: str) -> Policy:
    """The policy of that name. Raises UsageError naming the nearest when there is none."""
    if name not in POLICIES:
        raise unknown("augmentation policy", name, POLICIES, "kinelite list policies")
    return POLICIES[name]


@dataclass(frozen=True)
class Draw:
    """What happens to every frame of one clip."""

    source: tuple[int, int]
    """Height and width of the frames that it was drawn for."""
    size: int
    """Height and width of the result in pixels."""
    matrix: tuple[float, float, float, float, float, float]
    """Row by row the 2x3 matrix that takes a point (x, y) of the result to the frame, both in pixels counted from the
    picture's corner, so that the first pixel's centre is at 0.5."""
    colour: tuple[tuple[str, float], ...]
    """brightness, contrast, saturation and hue with their factors, in the order of application."""
    erase: tuple[int, int, int, int] | None
    """Top, left, height and width of the black box in the result."""


def draw(policy: Policy, height: int, width: int, size: int, rng: np.random.Generator, fit: Fit = "squash") -> Draw:
    """Draw one clip's augmentation for frames of ``height`` x ``width`` pixels.

    ``fit="crop"`` keeps the proportions: a square of the short side at a random place along the long one.
    """
    flips = [bool(rng.random() < chance) for chance in (policy.hflip, policy.vflip)]
    matrix = _to_frame(height, width, size, flips, fit, rng) @ _affine(policy, size, rng)
    colour = _colour(policy, rng)
    erase = _erase(policy, size, rng)
    a, b, c, d, e, f = (float(v) for v in matrix[:2].ravel())
    return Draw((height, width), size, (a, b, c, d, e, f), colour, erase)


def _to_frame(
    height: int, width: int, size: int, flips: list[bool], fit: Fit, rng: np.random.Generator
) -> Float[np.ndarray, "3 3"]:
    """From the resized and flipped square back to the frame."""
    spans = np.array([width, height], dtype=np.float64)
    offsets = np.zeros(2)
    if fit == "crop":
        offsets = rng.random() * (spans - spans.min())
        spans = np.full(2, spans.min())
    matrix = np.eye(3)
    for axis, flip in enumerate(flips):
        matrix[axis, axis] = (-1 if flip else 1) * spans[axis] / size
        matrix[axis, 2] = offsets[axis] + (spans[axis] if flip else 0)
    return matrix


def _affine(policy: Policy, size: int, rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """The inverse of a random affine map about the picture's centre, with RandomAffine's parameters."""
    angle = math.radians(rng.uniform(-policy.degrees, policy.degrees))
    reach = policy.translate * size
    shift = [float(round(rng.uniform(-reach, reach))) for _ in range(2)]
    scale = rng.uniform(*policy.scale)
    shear = math.radians(rng.uniform(-policy.shear, policy.shear))
    return affine_inverse(angle, (shift[0], shift[1]), scale, shear, size)


def affine_inverse(
    angle: float, shift: tuple[float, float], scale: float, shear: float, size: int
) -> Float[np.ndarray, "3 3"]:
    """Matrix from result to picture of torchvision's ``affine``: shear along x, scale, rotate, shift, about the centre.

    ``angle`` and ``shear`` in radians, ``shift`` in pixels; coordinates count from the picture's corner.
    """
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forward = scale * turn @ np.array([[1, -math.tan(shear)], [0, 1]])
    inverse = np.eye(3)
    inverse[:2, :2] = np.linalg.inv(forward)
    centre = np.full(2, size / 2)
    inverse[:2, 2] = centre - inverse[:2, :2] @ (centre + shift)
    return inverse


def _colour(policy: Policy, rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
    """Factors and order as ColorJitter draws them; what changes nothing is left out."""
    steps = []
    for name in ("brightness", "contrast", "saturation"):
        reach = getattr(policy, name)
        steps.append((name, float(rng.uniform(max(0.0, 1 - reach), 1 + reach))))
    steps.append(("hue", float(rng.uniform(-policy.hue, policy.hue))))
    order = rng.permutation(len(steps))
    return tuple(steps[i] for i in order if getattr(policy, steps[i][0]) > 0)


def _erase(policy: Policy, size: int, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
    """A box as RandomErasing finds it: ten attempts, none if no box fits inside the picture."""
    if not rng.random() < policy.erase_p:
        return None
    for _ in range(10):
        area = size * size * rng.uniform(*policy.erase_scale)
        ratio = math.exp(rng.uniform(math.log(policy.erase_ratio[0]), math.log(policy.erase_ratio[1])))
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if height < size and width < size:
            top, left = rng.integers(size - height + 1), rng.integers(size - width + 1)
            return int(top), int(left), height, width
    return None


def apply(frames: UInt8[np.ndarray, "t 3 h w"], draw: Draw, size: int) -> UInt8[np.ndarray, "t 3 {size} {size}"]:
    """The frames of one clip under one draw; equal frames stay equal. What lies outside of a frame is black.

    Raises ValueError when the draw was made for another size of frame or result.
    """
    if draw.source != frames.shape[2:] or draw.size != size:
        raise ValueError(f"Drawn for {draw.source} -> {draw.size}, applied to {frames.shape[2:]} -> {size}.")
    if _changes_nothing(draw):
        return frames
    height, width = draw.source
    # A bilinear warp looks at 2x2 pixels and would skip the rest of a much larger frame: whole multiples are averaged
    # away first. What remains is a reduction below two.
    small = (max(1, height // size), max(1, width // size))
    reduced = (height // small[0], width // small[1])
    matrix, border = _warp(draw, reduced)
    result = np.empty((len(frames), size, size, 3), dtype=np.uint8)
    for target, source in zip(result, frames.transpose(0, 2, 3, 1), strict=True):
        frame = np.ascontiguousarray(source)
        if reduced != draw.source:
            frame = cv2.resize(frame, reduced[::-1], interpolation=cv2.INTER_AREA)
        cv2.warpAffine(frame, matrix, (size, size), dst=target, flags=_INVERSE_LINEAR, borderMode=border)
        for name, factor in draw.colour:
            _COLOUR[name](target, factor)
        if draw.erase is not None:
            top, left, box_height, box_width = draw.erase
            target[top : top + box_height, left : left + box_width] = 0
    return result.transpose(0, 3, 1, 2)


def _changes_nothing(draw: Draw) -> bool:
    same = np.allclose(draw.matrix, (1, 0, 0, 0, 1, 0), rtol=0, atol=1e-9) and draw.source == (draw.size, draw.size)
    return same and not draw.colour and draw.erase is None


_INVERSE_LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def _warp(draw: Draw, reduced: tuple[int, int]) -> tuple[Float[np.ndarray, "2 3"], int]:
    """The draw's matrix from pixel index to pixel index of the reduced frame, and how to continue its border."""
    matrix = np.array(draw.matrix).reshape(2, 3)
    corners = matrix @ np.array([[0, 0, 1], [draw.size, 0, 1], [0, draw.size, 1], [draw.size, draw.size, 1]]).T
    limits = np.array([[draw.source[1]], [draw.source[0]]])
    inside = (corners > -1e-6).all() and (corners < limits + 1e-6).all()
    matrix = matrix * np.array([[reduced[1] / draw.source[1]], [reduced[0] / draw.source[0]]])
    matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5
    # When nothing outside of the frame shows, blending its border with black would only darken the edge.
    return matrix, cv2.BORDER_REPLICATE if inside else cv2.BORDER_CONSTANT


def _brightness(frame: UInt8[np.ndarray, "h w 3"], factor: float) -> None:
    cv2.LUT(frame, _table(factor, 0.0), dst=frame)


def _contrast(frame: UInt8[np.ndarray, "h w 3"], factor: float) -> None:
    mean = float(np.dot(cv2.mean(frame)[:3], GRAY))
    cv2.LUT(frame, _table(factor, (1 - factor) * mean), dst=frame)


def _saturation(frame: UInt8[np.ndarray, "h w 3"], factor: float) -> None:
    cv2.transform(frame, factor * np.eye(3) + (1 - factor) * np.array([GRAY]), dst=frame)


def _hue(frame: UInt8[np.ndarray, "h w 3"], factor: float) -> None:
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(factor * 256) % 256)
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=frame)


_COLOUR = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue}


def _table(factor: float, offset: float) -> UInt8[np.ndarray, " levels"]:
    return np.clip(np.arange(256) * factor + offset, 0, 255).astype(np.uint8)


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
