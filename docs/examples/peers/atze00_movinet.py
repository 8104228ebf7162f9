"""Atze00/MoViNet-pytorch, base models. KINELITE_PEER_MOVINET names the checkout, KINELITE_PEER_SIZE the size (A0)."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from torch import Tensor, nn


class Port(nn.Module):
    """A clip at once. The stream models remember the clip before in their modules, so they forget it first."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, video: Tensor) -> Tensor:
        """Logits ``[b, k]``."""
        self.model.clean_activation_buffers()
        return self.model(video)


def build(frames: int, size: int, classes: int, *, stream: bool = False) -> nn.Module:
    """It takes ``[b, c, t, h, w]`` of any length and square size."""
    folder = os.environ.get("KINELITE_PEER_MOVINET")
    if not folder:
        raise SystemExit("Set KINELITE_PEER_MOVINET to a checkout of Atze00/MoViNet-pytorch.")
    sys.path.insert(0, folder)
    from movinets import MoViNet
    from movinets.config import _C

    table = getattr(_C.MODEL, f"MoViNet{os.environ.get('KINELITE_PEER_SIZE', 'A0')}")
    kind = "2plus1d" if stream else "3d"
    model = MoViNet(table, causal=stream, num_classes=classes, conv_type=kind, tf_like=True)
    torch.manual_seed(0)
    return Port(model)
