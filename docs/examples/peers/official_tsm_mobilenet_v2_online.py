"""The authors' online TSM, frame by frame. KINELITE_PEER_TSM: a checkout of mit-han-lab/temporal-shift-module."""

from __future__ import annotations

import os
import sys

import torch
from torch import Tensor, nn

SITES = ((3, 4), (4, 8), (4, 8), (8, 16), (8, 16), (8, 16), (12, 16), (12, 16), (20, 32), (20, 32))
"""Channels of each of their buffers, and how often it fits into the height and width of a frame."""


class Official(nn.Module):
    """Their network sees one frame and the buffers of the frame before."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, video: Tensor) -> Tensor:
        """``[b, c, t, h, w]``, a multiple of 32 pixels, to the mean logits of the frames."""
        b, _, frames, h, w = video.shape
        buffers = [video.new_zeros(b, channels, h // part, w // part) for channels, part in SITES]
        logits = []
        for t in range(frames):
            once, *buffers = self.network(video[:, :, t], *buffers)
            logits.append(once)
        return torch.stack(logits, dim=1).mean(1)


def build(frames: int, size: int, classes: int) -> nn.Module:
    """Any number of frames."""
    checkout = os.environ.get("KINELITE_PEER_TSM")
    if not checkout:
        sys.exit("Set KINELITE_PEER_TSM to a checkout of github.com/mit-han-lab/temporal-shift-module.")
    sys.path.insert(0, os.path.join(checkout, "online_demo"))
    from mobilenet_v2_tsm import MobileNetV2  # type: ignore[import-not-found]

    return Official(MobileNetV2(n_class=classes))
