"""VTN-R50 of timm's ResNet-50 and torch.nn.TransformerEncoder, put together here: no VTN over a CNN is public."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn


class Composed(nn.Module):
    """The plain way to write it."""

    def __init__(self, cnn: str, frames: int, classes: int) -> None:
        super().__init__()
        self.cnn = timm.create_model(cnn, num_classes=0)
        self.project = nn.Linear(self.cnn.num_features, 256)
        self.cls = nn.Parameter(torch.zeros(1, 1, 256))
        self.positions = nn.Parameter(torch.zeros(1, frames + 1, 256))
        layer = nn.TransformerEncoderLayer(
            256, 8, 1024, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 3, norm=nn.LayerNorm(256), enable_nested_tensor=False)
        self.fc = nn.Linear(256, classes)

    def forward(self, video: Tensor) -> Tensor:
        """``[b, c, t, h, w]`` to logits."""
        b, _, t = video.shape[:3]
        features = self.project(self.cnn(video.transpose(1, 2).flatten(0, 1))).unflatten(0, (b, t))
        tokens = torch.cat([self.cls.expand(b, -1, -1), features], dim=1) + self.positions
        return self.fc(self.encoder(tokens)[:, 0])


def build(frames: int, size: int, classes: int) -> nn.Module:
    """The number of frames is fixed when it is built."""
    return Composed("resnet50", frames, classes)
