"""ViViT-FE over DeiT-Small as anyone would put it together: timm's transformer, then `torch.nn.TransformerEncoder`.

No public package has the factorised encoder in PyTorch (transformers' ViViT is the unfactorised model), so this is the
nearest public thing.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn


class ViViTFE(nn.Module):
    """One frame per tubelet, two layers over time."""

    def __init__(self, frames: int, size: int, classes: int) -> None:
        super().__init__()
        self.image = timm.create_model("deit_small_patch16_224", num_classes=0, img_size=size)
        width = self.image.num_features
        layer = nn.TransformerEncoderLayer(width, 6, 4 * width, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True)
        self.time = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width, 1e-6), enable_nested_tensor=False)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, frames + 1, width))
        self.head = nn.Linear(width, classes)

    def forward(self, video: Tensor) -> Tensor:
        features = self.image(video.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(video), -1))
        tokens = torch.cat([self.cls.expand(len(video), -1, -1), features], 1) + self.positions
        return self.head(self.time(tokens)[:, 0])


def build(frames: int, size: int, classes: int) -> nn.Module:
    """It takes ``[b, c, t, h, w]`` of the frames and the size that it is built for."""
    return ViViTFE(frames, size, classes)
