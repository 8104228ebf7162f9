"""The authors' TEA. KINELITE_PEER_TEA: a checkout of github.com/Phoenix1327/tea-action-recognition.

Their table of addresses lacks a comma after its first entry, which has to be added before Python can read the file.
Their mean over frames is an autograd function of a kind that PyTorch no longer runs; a plain one takes its place.
"""

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


class Mean(nn.Module):
    """Mean over frames, ``[b, t, k]`` to ``[b, 1, k]``."""

    def forward(self, logits: Tensor) -> Tensor:
        """Mean logits."""
        return logits.mean(1, keepdim=True)


def build(frames: int, size: int, classes: int) -> nn.Module:
    """8 or 16 frames: they have one file for each."""
    checkout = os.environ.get("KINELITE_PEER_TEA")
    if not checkout:
        sys.exit("Set KINELITE_PEER_TEA to a checkout of github.com/Phoenix1327/tea-action-recognition.")
    sys.path.insert(0, checkout)
    from ops import models, tea50_8f, tea50_16f  # type: ignore[import-not-found]

    # Their constructor downloads image weights; the architecture alone is compared.
    tea50_8f.model_zoo.load_url = lambda _address: {}
    load = tea50_16f.Res2Net.load_state_dict
    for module in (tea50_8f, tea50_16f):
        module.Res2Net.load_state_dict = lambda *_args, **_options: None
    with contextlib.redirect_stdout(io.StringIO()):
        network = models.TSN(classes, frames, "RGB", base_model="tea50", dropout=0.5, partial_bn=False)
    for module in (tea50_8f, tea50_16f):
        module.Res2Net.load_state_dict = load
    network.consensus = Mean()
    return Official(network)
