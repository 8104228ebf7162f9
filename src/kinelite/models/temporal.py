"""The transformer over time, and its learned positions."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from kinelite.errors import UsageError

POSITION_STD = 0.2
"""Spread of the positions at the start. Scenic's 0.02 is so small beside the features that on small sets the order of
the frames is learnt late or never; docs/log.md has the measurement."""


class TemporalTransformer(nn.Module):
    """Pre-norm transformer with its own class token over one feature vector per tubelet, as in ViViT (2103.15691).

    Class token zeros, projections Xavier uniform (q, k and v apart) with zero biases, LayerNorm eps 1e-6, as in Scenic.
    Unlike Scenic: stochastic depth divides by the probability to keep, and larger start positions. Scenic's GELU is the
    one by tanh.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        layers: int,
        tubelets: int,
        mlp_width: int | None = None,
        drop_path: float = 0.0,
        gelu: Literal["none", "tanh"] = "none",
    ) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, tubelets + 1, width).normal_(std=POSITION_STD))
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        activation: Any = partial(nn.GELU, approximate=gelu)
        # Half a unit more: timm truncates width * ratio to an integer.
        ratio = ((mlp_width or 4 * width) + 0.5) / width
        rates = [drop_path * i / max(layers - 1, 1) for i in range(layers)]
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio=ratio, qkv_bias=True, drop_path=rate, norm_layer=norm, act_layer=activation)
            for rate in rates
        )
        self.norm = norm(width)
        self.apply(_init_linear)

    @property
    def tubelets(self) -> int:
        """Length of the sequence that the positions are made for, in tubelets."""
        return self.positions.shape[1] - 1

    def forward(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        """The class token after the last norm. Raises UsageError for another number of tubelets than was built for."""
        if features.shape[1] != self.tubelets:
            raise UsageError(
                f"This model was built for {self.tubelets} tubelets per clip and got {features.shape[1]}. "
                "Build it with frames=... of the clips and load the weights again: positions are then interpolated."
            )
        tokens = torch.cat([self.cls.expand(features.shape[0], -1, -1), features], dim=1) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 0]


def resize_temporal_positions(positions: Float[Tensor, "1 n d"], tubelets: int) -> Float[Tensor, "1 m d"]:
    """Learned positions ``[1, 1 + old, d]`` for another number of tubelets: ``[1, 1 + tubelets, d]``.

    The class token's position is kept; the others are interpolated linearly with the ends fixed, as Scenic does when
    it restores a ViViT of another clip length. With an equal length the input itself is returned.
    """
    if positions.shape[1] == tubelets + 1:
        return positions
    cls, steps = positions[:, :1], positions[:, 1:]
    longer = F.interpolate(steps.transpose(1, 2).float(), size=tubelets, mode="linear", align_corners=True)
    return torch.cat([cls, longer.transpose(1, 2).to(steps.dtype)], dim=1)


def fit_positions(state: dict[str, Tensor], name: str, own: Tensor, notes: list[str], what: str, unit: str) -> None:
    """`resize_temporal_positions` of ``state[name]``, in place, where only its length differs from that of ``own``.

    What was done is told in ``notes``, of ``what`` in which ``unit``.
    """
    given = state.get(name)
    if given is None or given.ndim != 3 or given.shape == own.shape or given.shape[2] != own.shape[2]:
        return
    old, new = given.shape[1] - 1, own.shape[1] - 1
    state[name] = resize_temporal_positions(given, new)
    notes.append(f"{what} interpolated from {old} to {new} {unit}")


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        parts = 3 if module.out_features == 3 * module.in_features else 1
        for part in module.weight.chunk(parts):
            nn.init.xavier_uniform_(part)
        nn.init.zeros_(module.bias)
