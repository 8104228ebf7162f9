"""The authors' TSM on MobileNetV2. KINELITE_PEER_TSM: a checkout of github.com/mit-han-lab/temporal-shift-module."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from official_tsm import network


def build(frames: int, size: int, classes: int) -> nn.Module:
    """The number of frames is fixed when it is built."""
    return network("mobilenetv2", frames, classes)
