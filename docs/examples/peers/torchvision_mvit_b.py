"""torchvision's MViT-B."""

from __future__ import annotations

from torch import nn
from torchvision.models.video import mvit_v1_b


def build(frames: int, size: int, classes: int) -> nn.Module:
    """It takes 16 frames of 224 x 224 pixels and nothing else."""
    if (frames, size) != (16, 224):
        raise SystemExit("torchvision builds MViT-B for 16 frames of 224 pixels only")
    return mvit_v1_b(num_classes=classes)
