"""PyTorchVideo's X3D-XS, from a checkout: KINELITE_PEER_PYTORCHVIDEO is its folder. It needs fvcore and iopath."""

from __future__ import annotations

import os
import sys

from torch import nn

if not (folder := os.environ.get("KINELITE_PEER_PYTORCHVIDEO")):
    sys.exit("Set KINELITE_PEER_PYTORCHVIDEO to a checkout of github.com/facebookresearch/pytorchvideo.")
sys.path.insert(0, folder)

from pytorchvideo.models.x3d import create_x3d  # pyright: ignore[reportMissingImports]


def build(frames: int, size: int, classes: int) -> nn.Module:
    """X3D-XS, S and M differ in their input alone."""
    return create_x3d(input_clip_length=frames, input_crop_size=size, model_num_class=classes)
