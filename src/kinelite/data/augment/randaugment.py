"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719): equally likely operations of one strength, once per clip.

Two sets of operations. ``torchvision`` is that of torchvision.transforms.v2.RandAugment, 31 strengths. ``vivit`` is
what the ViViT code in Scenic does to a clip: no operation that moves pixels, a strength in tenths that may exceed ten,
and cutout, invert and solarize_add beside the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from kinelite.data.augment.geometry import Affine, affine_inverse, inverse_about
from kinelite.data.augment.policies import Policy

Value = float | tuple[int, int, int, int]
Strength = Callable[[int, int, np.random.Generator], Value]
"""From magnitude and size of the picture to what the operation is applied with."""


def _either(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() <= 0.5 else value


def _constant(magnitude: int, size: int, rng: np.random.Generator) -> Value:
    return 0.0


def _bins(largest: float, start: float = 0.0) -> Strength:
    """Torchvision's 31 bins from 0 to ``largest``, to either side of ``start``."""
    return lambda magnitude, size, rng: start + _either(largest * magnitude / 30, rng)


def _shift(magnitude: int, size: int, rng: np.random.Generator) -> Value:
    return float(int(_either(150 / 331 * size * magnitude / 30, rng)))


def _cutout(magnitude: int, size: int, rng: np.random.Generator) -> Value:
    """A box about a random pixel, cut off at the border: 80 x 80 at magnitude 10 in a picture of 224 pixels."""
    half = int(magnitude / 10 * 40 * size / 224)
    y, x = int(rng.integers(size)), int(rng.integers(size))
    top, left = max(0, y - half), max(0, x - half)
    return top, left, min(size, y + half) - top, min(size, x + half) - left


def _enhance(magnitude: int, size: int, rng: np.random.Generator) -> Value:
    return magnitude / 10 * 1.8 + 0.1


OPS: Mapping[str, Mapping[str, Strength]] = {
    "torchvision": {
        "identity": _constant,
        "shear_x": _bins(0.3),
        "shear_y": _bins(0.3),
        "translate_x": _shift,
        "translate_y": _shift,
        "rotate": _bins(30.0),
        "brightness": _bins(0.9, 1.0),
        "saturation": _bins(0.9, 1.0),
        "contrast": _bins(0.9, 1.0),
        "sharpness": _bins(0.9, 1.0),
        "posterize": lambda magnitude, size, rng: float(round(8 - magnitude / 7.5)),
        "solarize": lambda magnitude, size, rng: 255 * (1 - magnitude / 30),
        "autocontrast": _constant,
        "equalize": _constant,
    },
    "vivit": {
        "identity": _constant,
        "autocontrast": _constant,
        "equalize": _constant,
        "invert": _constant,
        "posterize": lambda magnitude, size, rng: float(min(8, int(magnitude / 10 * 4))),
        "solarize": lambda magnitude, size, rng: float(int(magnitude / 10 * 256)),
        "saturation": _enhance,
        "contrast": _enhance,
        "brightness": _enhance,
        "sharpness": _enhance,
        "cutout": _cutout,
        "solarize_add": lambda magnitude, size, rng: float(int(magnitude / 10 * 110)),
    },
}
"""Operations and their strengths. ``saturation`` is called Color there, and ``identity`` does nothing."""


def draw_ops(policy: Policy, size: int, rng: np.random.Generator) -> list[tuple[str, Value]]:
    """One clip's operations with their strengths, for results of ``size`` x ``size`` pixels."""
    space = OPS[policy.ops]
    names = list(space)
    chosen = [names[rng.integers(len(names))] for _ in range(policy.layers)]
    return [(name, space[name](policy.magnitude, size, rng)) for name in chosen if name != "identity"]


def move(name: str, value: Value, size: int) -> Float[np.ndarray, "3 3"] | None:
    """Matrix from result to picture of an operation that moves pixels, None for one that changes colours.

    Shears keep the corner in place, rotations (counter-clockwise, in degrees) the centre, as torchvision does it.
    """
    if not isinstance(value, float):
        return None
    if name == "rotate":
        return affine_inverse(Affine(-math.radians(value), (0.0, 0.0), 1.0, 0.0), size)
    if name == "translate_x":
        return inverse_about(np.eye(2), 0.0, (value, 0.0))
    if name == "translate_y":
        return inverse_about(np.eye(2), 0.0, (0.0, value))
    if name == "shear_x":
        return inverse_about(np.array([[1.0, -value], [0.0, 1.0]]), 0.0)
    if name == "shear_y":
        return inverse_about(np.array([[1.0, 0.0], [-value, 1.0]]), 0.0)
    return None
