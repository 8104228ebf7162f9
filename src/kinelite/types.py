"""Axis legend and the shapes that cross module borders.

b batch, c channel (RGB), t time in frames, h height, w width, n time in tubelets (t divided by the tubelet length),
d feature width, k classes. A decoded *clip* is uint8 ``[t, c, h, w]``; a *video* is what a model takes, float
``[b, c, t, h, w]`` normalised with the model's mean and standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sampling = Literal["sparse", "dense"]
Fit = Literal["squash", "crop"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GREY_MEAN = (0.45, 0.45, 0.45)
"""With `GREY_STD` what PySlowFast, PyTorchVideo and their kin train with: all channels alike."""
GREY_STD = (0.225, 0.225, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """What a model expects, and the only thing that ``models`` and ``data`` share. It travels with every checkpoint."""

    frames: int
    """Frames of one clip."""
    size: int
    """Height and width in pixels."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Mean per channel of pixels in [0, 1]."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Standard deviation per channel of pixels in [0, 1]."""
    sampling: Sampling = "sparse"
    """sparse: one frame of each equal segment of the clip (TSN). dense: consecutive frames, every ``stride``-th."""
    stride: int = 2
    """Distance between frames under dense sampling, in frames of the file."""
    fit: Fit = "squash"
    """squash: resize to size x size (lightweight paper). crop: short side to size, then crop (ViViT)."""
