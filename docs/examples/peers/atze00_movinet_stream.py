"""Atze00/MoViNet-pytorch, stream models over a whole clip; environment variables as in atze00_movinet.py."""

from __future__ import annotations

import runpy
from pathlib import Path

from torch import nn


def build(frames: int, size: int, classes: int) -> nn.Module:
    """It takes ``[b, c, t, h, w]`` of any length and square size."""
    base = runpy.run_path(str(Path(__file__).with_name("atze00_movinet.py")))
    return base["build"](frames, size, classes, stream=True)
