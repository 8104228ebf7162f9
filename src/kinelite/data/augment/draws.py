"""One clip's augmentation: everything random about it, decided before a pixel is touched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kinelite.data.augment.geometry import affine_inverse, draw_affine, placement
from kinelite.data.augment.policies import Policy
from kinelite.data.augment.randaugment import draw_ops, move
from kinelite.types import Fit

Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels of the result."""
Step = tuple[str, float | Box]
"""A colour operation and its strength; the box of a cutout."""


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
    colour: tuple[Step, ...] = ()
    """Colour operations in the order of application; their names are those of `kinelite.data.augment.colour`."""
    erase: Box | None = None
    """The black box."""
    scope: Literal["frame", "clip"] = "frame"
    """Over what contrast, autocontrast and equalize take their statistics."""


def draw(policy: Policy, height: int, width: int, size: int, rng: np.random.Generator, fit: Fit = "squash") -> Draw:
    """Draw one clip's augmentation for frames of ``height`` x ``width`` pixels.

    ``fit="crop"`` keeps the proportions: a square of the short side at a random place along the long one.
    """
    flips = [bool(rng.random() < chance) for chance in (policy.hflip, policy.vflip)]
    matrix = placement(policy, height, width, size, flips, fit, rng)
    matrix = matrix @ affine_inverse(draw_affine(policy, size, rng), size)
    colour = draw_colour(policy, rng)
    for name, value in draw_ops(policy, size, rng):
        step = move(name, value, size)
        if step is None:
            colour.append((name, value))
        else:
            matrix = matrix @ step
    a, b, c, d, e, f = (float(v) for v in matrix[:2].ravel())
    scope = "clip" if policy.layers and policy.ops == "vivit" else "frame"
    return Draw((height, width), size, (a, b, c, d, e, f), tuple(colour), draw_box(policy, size, rng), scope)


def draw_colour(policy: Policy, rng: np.random.Generator) -> list[Step]:
    """Factors and order as ColorJitter draws them, or tf.image.random_*; what changes nothing is left out."""
    steps: list[Step] = []
    if policy.colour_p >= 1 or rng.random() < policy.colour_p:
        steps = _tensorflow_colour(policy, rng) if policy.colours == "tensorflow" else _torchvision_colour(policy, rng)
    if policy.gray_p > 0 and rng.random() < policy.gray_p:
        steps.append(("gray", 0.0))
    return steps


def _torchvision_colour(policy: Policy, rng: np.random.Generator) -> list[Step]:
    steps: list[Step] = []
    for name in ("brightness", "contrast", "saturation"):
        reach = getattr(policy, name)
        steps.append((name, float(rng.uniform(max(0.0, 1 - reach), 1 + reach))))
    steps.append(("hue", float(rng.uniform(-policy.hue, policy.hue))))
    order = rng.permutation(len(steps))
    return [steps[i] for i in order if getattr(policy, steps[i][0]) > 0]


def _tensorflow_colour(policy: Policy, rng: np.random.Generator) -> list[Step]:
    return [
        ("add", float(rng.uniform(-policy.brightness, policy.brightness))),
        ("saturation_hsv", float(rng.uniform(1 - policy.saturation, 1 + policy.saturation))),
        ("contrast_rgb", float(rng.uniform(1 - policy.contrast, 1 + policy.contrast))),
        ("hue", float(rng.uniform(-policy.hue, policy.hue))),
    ]


def draw_box(policy: Policy, size: int, rng: np.random.Generator) -> Box | None:
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
