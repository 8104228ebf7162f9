"""VTN-EfficientNet-B0 of timm and torch.nn.TransformerEncoder, put together here: no VTN over a CNN is public."""

from __future__ import annotations

import runpy
from pathlib import Path

from torch import nn


def build(frames: int, size: int, classes: int) -> nn.Module:
    """The same composition as of ResNet-50."""
    composed = runpy.run_path(str(Path(__file__).with_name("timm_torch_vtn_r50.py")))["Composed"]
    return composed("efficientnet_b0", frames, classes)
