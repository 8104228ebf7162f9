"""ViViT-B/16x2 FE as anyone would put it together: a 3-D convolution, timm's blocks, `torch.nn.TransformerEncoder`.

No public package has the factorised encoder in PyTorch (transformers' ViViT is the unfactorised model), so this is the
nearest public thing. Both transformers have Scenic's GELU, the one by tanh.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn


class ViViTFE(nn.Module):
    """Tubelets of two frames, four layers over time."""

    def __init__(self, frames: int, size: int, classes: int) -> None:
        super().__init__()
        self.image = timm.create_model("vit_base_patch16_224", num_classes=0, img_size=size, act_layer="gelu_tanh")
        width = self.image.num_features
        self.image.patch_embed = nn.Identity()
        self.tubelets = nn.Conv3d(3, width, (2, 16, 16), stride=(2, 16, 16))
        gelu = nn.GELU(approximate="tanh")
        layer = nn.TransformerEncoderLayer(width, 12, 4 * width, 0.0, gelu, 1e-6, batch_first=True, norm_first=True)
        self.time = nn.TransformerEncoder(layer, 4, nn.LayerNorm(width, 1e-6), enable_nested_tensor=False)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, frames // 2 + 1, width))
        self.head = nn.Linear(width, classes)

    def forward(self, video: Tensor) -> Tensor:
        patches = self.tubelets(video).transpose(1, 2).flatten(0, 1).flatten(2).transpose(1, 2)
        features = self.image(patches).unflatten(0, (len(video), -1))
        tokens = torch.cat([self.cls.expand(len(video), -1, -1), features], 1) + self.positions
        return self.head(self.time(tokens)[:, 0])


def build(frames: int, size: int, classes: int) -> nn.Module:
    """It takes ``[b, c, t, h, w]`` of the frames and the size that it is built for."""
    return ViViTFE(frames, size, classes)
