"""The transformer over time of ViViT with factorised encoder."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from kinelite.models.class_token import ClassTokenBlock
from kinelite.models.temporal.part import TemporalPart, projection, start_linear
from kinelite.models.temporal.positions import POSITION_STD


class TemporalTransformer(TemporalPart):
    """Pre-norm transformer with its own class token over one feature vector per tubelet, as in ViViT (2103.15691).

    Class token zeros, projections Xavier uniform (q, k and v apart) with zero biases, LayerNorm eps 1e-6, as in Scenic.
    Unlike Scenic: stochastic depth divides by the probability to keep, and larger start positions. Scenic's GELU is the
    one by tanh. The last layer computes its class token alone, which is all that is used of it.
    """

    others = 1

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        layers: int,
        tubelets: int,
        features: int | None = None,
        mlp_width: int | None = None,
        drop_path: float = 0.0,
        gelu: Literal["none", "tanh"] = "none",
    ) -> None:
        super().__init__(width)
        self.project = projection(features or width, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, tubelets + 1, width).normal_(std=POSITION_STD))
        # Half a unit more: timm truncates width * ratio to an integer.
        options: Any = {"mlp_ratio": ((mlp_width or 4 * width) + 0.5) / width, "qkv_bias": True}
        options |= {"norm_layer": partial(nn.LayerNorm, eps=1e-6), "act_layer": partial(nn.GELU, approximate=gelu)}
        rates = [drop_path * i / max(layers - 1, 1) for i in range(layers)]
        kinds = [Block] * (layers - 1) + [ClassTokenBlock]
        self.blocks = nn.ModuleList(
            kind(width, heads, drop_path=rate, **options) for kind, rate in zip(kinds, rates, strict=True)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(start_linear)

    @property
    def tubelets(self) -> int:
        """Length of the sequence that the positions are made for, in tubelets."""
        return self.positions.shape[1] - 1

    def forward(self, features: Float[Tensor, "b n d_in"]) -> Float[Tensor, "b d"]:
        """The class token after the last norm. Raises UsageError for another number of tubelets than was built for."""
        self.check_tubelets(features.shape[1], self.tubelets)
        tokens = torch.cat([self.cls.expand(features.shape[0], -1, -1), self.project(features)], dim=1) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 0]
