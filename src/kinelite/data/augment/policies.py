"""Named augmentation policies: the values of the two papers that Kinelite implements, and two small ones.

Sources: *Evaluating Transformers for Lightweight Action Recognition* (arXiv 2111.09641), appendix B.1 to B.3, whose
values are torchvision's parameters; *Optimizing ViViT Training* (arXiv 2306.04822), table 7, whose names are those of
the ViViT code in Scenic, from which come the numbers that the table leaves out (resize, ranges of the colours, the
operations of RandAugment).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Literal

from kinelite.errors import unknown


@dataclass(frozen=True)
class Policy:
    """Ranges that a clip's augmentation is drawn from; as text, what differs from the default."""

    hflip: float = 0.0
    """Probability of mirroring left and right."""
    vflip: float = 0.0
    """Probability of mirroring top and bottom."""
    resize: float = 1.0
    """Length of the sides (of the short one where proportions are kept) before a square is cut out at random, in
    multiples of the square's side. 1: nothing is cut off, beside the ends of the long side."""
    jitter: tuple[float, float] = (1.0, 1.0)
    """Range of the two factors, one for the height and one for the width, on that length (ViViT's scale jitter)."""
    degrees: float = 0.0
    """Largest rotation to either side, in degrees."""
    translate: float = 0.0
    """Largest shift along either axis, as a share of the picture."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of magnification."""
    shear: float = 0.0
    """Largest shear along x to either side, in degrees."""
    colours: Literal["torchvision", "tensorflow"] = "torchvision"
    """torchvision: ColorJitter, in random order. tensorflow: tf.image.random_*, in the order brightness, saturation,
    contrast, hue; there brightness is added, saturation scales that of HSV, contrast is about each channel's mean."""
    colour_p: float = 1.0
    """Probability that the colours change at all."""
    brightness: float = 0.0
    """The factor is drawn from 1 minus to 1 plus this; so are those of contrast and saturation. Under tensorflow: the
    largest amount added or taken away, as a share of full scale."""
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    """Largest turn of the colour circle to either side, as a share of it."""
    gray_p: float = 0.0
    """Probability that all colour is dropped."""
    layers: int = 0
    """Operations of RandAugment (0: off)."""
    magnitude: int = 0
    """Strength of RandAugment: 0 to 30 in torchvision's operations, a multiple of a tenth in ViViT's."""
    ops: Literal["torchvision", "vivit"] = "torchvision"
    """torchvision: the 14 operations of the RandAugment paper. vivit: the 12 of ViViT's code, none of which moves
    pixels, with statistics over the whole clip."""
    erase_p: float = 0.0
    """Probability that a box is blackened, the same in all frames."""
    erase_scale: tuple[float, float] = (0.05, 0.1)
    """Range of the box's area, as a share of the picture."""
    erase_ratio: tuple[float, float] = (0.3, 3.3)
    """Range of the box's height divided by its width (uniform in the logarithm)."""

    def __str__(self) -> str:
        changed = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return ", ".join(changed) or "resize only"


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
_VIVIT = Policy(hflip=0.5, resize=256 / 224, jitter=(0.9, 1.33))
_VIVIT_COLOUR = replace(
    _VIVIT, colours="tensorflow", colour_p=0.8, brightness=32 / 255, contrast=0.4, saturation=0.4, hue=0.2
)

POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "none": Policy(),
        "flip": Policy(hflip=0.5),
        "lightweight_kinetics": replace(_SSV2, hflip=0.5, degrees=10.0),
        "lightweight_ssv2": _SSV2,
        "lightweight_epic": replace(_SSV2, hflip=0.5, vflip=0.5),
        "vivit_kinetics400": _VIVIT_COLOUR,
        "vivit_kinetics600": _VIVIT_COLOUR,
        "vivit_moments": _VIVIT_COLOUR,
        "vivit_epic": replace(_VIVIT, layers=2, magnitude=15, ops="vivit"),
        "vivit_ssv2": replace(_VIVIT, layers=2, magnitude=20, ops="vivit"),
        "vivit_ssv2_unmirrored": replace(_VIVIT, hflip=0.0, layers=2, magnitude=20, ops="vivit"),
        "vivit_something_else": _VIVIT,
        "vivit_something_else_unmirrored": replace(_VIVIT, hflip=0.0),
        "randaugment": Policy(hflip=0.5, layers=2, magnitude=9),
    }
)
"""none only resizes; flip also mirrors half of the clips, for small sets that train for few steps; lightweight_* are
appendix B.3 (Kinetics-400), B.2 (Something-Something V2) and B.1 (EPIC-Kitchens-100); vivit_* are the columns of table
7, whose mirror changes the labels of the two Something sets: *_unmirrored leaves it out; randaugment is torchvision's
with its default strength, after a mirror."""


def policy(name: str) -> Policy:
    """The policy of that name. Raises UsageError naming the nearest when there is none."""
    if name not in POLICIES:
        raise unknown("augmentation policy", name, POLICIES, "kinelite list policies")
    return POLICIES[name]
