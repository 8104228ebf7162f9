"""PyTorchVideo's ResNet-50 with every 3 x 3 kernel inflated, and the BERT of 2008.01232 by its authors.

KINELITE_PEER_PYTORCHVIDEO: a checkout of github.com/facebookresearch/pytorchvideo (it needs fvcore and iopath).
KINELITE_PEER_BERT: a checkout of github.com/artest08/LateTemporalModeling3DCNN. Their code moves tensors to CUDA while
it builds; that is taken out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn


def _checkout(variable: str, repository: str) -> Path:
    if not (folder := os.environ.get(variable)):
        sys.exit(f"Set {variable} to a checkout of github.com/{repository}.")
    return Path(folder)


def _stay(tensor: Tensor, *args: object, **options: object) -> Tensor:
    return tensor


class Composed(nn.Module):
    """As their ``rgb_I3D64f_bert2``: space averaged, each step of length 1, BERT, classifier."""

    def __init__(self, features: nn.Module, bert: nn.Module, classes: int) -> None:
        super().__init__()
        self.features, self.reduce, self.bert = features, nn.Linear(2048, 512), bert
        self.dropout, self.fc_action = nn.Dropout(0.8), nn.Linear(512, classes)

    def forward(self, video: Tensor) -> Tensor:
        """``[b, c, t, h, w]`` to logits."""
        steps = self.reduce(self.features(video).mean(dim=(3, 4)).transpose(1, 2))
        with mock.patch.object(torch.Tensor, "cuda", _stay):
            tokens, _ = self.bert(steps / steps.norm(dim=-1, keepdim=True))
        return self.fc_action(self.dropout(tokens[:, 0]))


def build(frames: int, size: int, classes: int) -> nn.Module:
    """The number of frames is fixed when it is built."""
    sys.path.insert(0, str(_checkout("KINELITE_PEER_PYTORCHVIDEO", "facebookresearch/pytorchvideo")))
    sys.path.insert(0, str(_checkout("KINELITE_PEER_BERT", "artest08/LateTemporalModeling3DCNN") / "models"))
    from BERT.bert import BERT2  # type: ignore[import-not-found]
    from pytorchvideo.models.resnet import create_resnet  # type: ignore[import-not-found]

    features = create_resnet(
        stem_conv_kernel_size=(7, 7, 7),
        stem_conv_stride=(2, 2, 2),
        stage_conv_a_kernel_size=((1, 1, 1),) * 4,
        stage_conv_b_kernel_size=((3, 3, 3),) * 4,
        head=None,
    )
    with mock.patch.object(torch.Tensor, "cuda", _stay), mock.patch.object(torch.Tensor, "to", _stay):
        bert = BERT2(512, (frames + 1) // 2, hidden=512, n_layers=1, attn_heads=8)
    return Composed(features, bert, classes)
