"""torchvision's Video Swin-T."""

from __future__ import annotations

from torch import nn
from torchvision.models.video import swin3d_t


def build(frames: int, size: int, classes: int) -> nn.Module:
    """It takes ``[b, c, t, h, w]`` of any length and size."""
    return swin3d_t(num_classes=classes)
