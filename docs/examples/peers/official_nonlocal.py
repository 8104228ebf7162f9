"""The TSM authors' non-local ResNet-50, no shift. KINELITE_PEER_TSM: checkout of mit-han-lab/temporal-shift-module."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from torch import Tensor, nn


class Official(nn.Module):
    """Their network takes the frames of a clip as channels, ``[b, t * c, h, w]``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, video: Tensor) -> Tensor:
        """``[b, c, t, h, w]`` to logits."""
        return self.network(video.transpose(1, 2).flatten(1, 2))


def build(frames: int, size: int, classes: int) -> nn.Module:
    """The number of frames is fixed when it is built."""
    checkout = os.environ.get("KINELITE_PEER_TSM")
    if not checkout:
        sys.exit("Set KINELITE_PEER_TSM to a checkout of github.com/mit-han-lab/temporal-shift-module.")
    sys.path.insert(0, checkout)
    from ops.models import TSN  # type: ignore[import-not-found]

    options = {"base_model": "resnet50", "dropout": 0.5, "partial_bn": False, "pretrain": "none", "non_local": True}
    with contextlib.redirect_stdout(io.StringIO()):
        return Official(TSN(classes, frames, "RGB", **options))
