"""Pooling over time with one BERT layer, after Late Temporal Modeling in 3D CNN Architectures (2008.01232)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kinelite.errors import UsageError

KEPT = 0.8
"""Probability that a step can be looked at, in training. The class token always can."""
DROPOUT = 0.1


class SpreadNorm(nn.Module):
    """Layer norm as the authors wrote it: divided by the unbiased standard deviation plus 1e-6."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Normalised over the last axis."""
        std, mean = torch.std_mean(x, dim=-1, keepdim=True)
        return self.weight * (x - mean) / (std + 1e-6) + self.bias


class BertPooling(nn.Module):
    """Class token, learned positions, one pre-norm transformer layer with tanh GELU; no norm after it.

    Steps are scaled to length 1 first, as in the authors' I3D. In training each step is hidden from all queries with
    probability 0.2, and dropout is 0.1 after the positions, in both halves of the layer and after it.
    """

    def __init__(self, width: int, *, heads: int, steps: int) -> None:
        super().__init__()
        self.heads = heads
        self.cls = nn.Parameter(torch.empty(1, 1, width).normal_(std=width**-0.5))
        self.positions = nn.Parameter(torch.empty(1, steps + 1, width).normal_(std=width**-0.5))
        self.norm1, self.norm2 = SpreadNorm(width), SpreadNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        for linear in (self.qkv, self.proj, self.fc1, self.fc2):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def check(self, steps: int, *, frames: int, built: int) -> None:
        """Raises UsageError unless a clip has as many steps as there are positions."""
        if steps != self.positions.shape[1] - 1:
            raise UsageError(
                f"This model was built for clips of {built} frames and got {frames}. Build it with frames={frames} and "
                "load the weights again: positions are then interpolated."
            )

    def forward(self, steps: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        """The class token after the layer."""
        tokens = torch.cat([self.cls.expand(steps.shape[0], -1, -1), F.normalize(steps, dim=-1)], dim=1)
        tokens = self._drop(tokens + self.positions)
        # There is one layer, so nothing but the class token has to come out of it.
        cls = tokens[:, 0] + self._drop(self._attend(self.norm1(tokens), self._seen(tokens)))
        hidden = self._drop(F.gelu(self.fc1(self.norm2(cls)), approximate="tanh"))
        return self._drop(cls + self._drop(self.fc2(hidden)))

    def _attend(self, tokens: Float[Tensor, "b n d"], seen: Bool[Tensor, "b 1 1 n"] | None) -> Float[Tensor, "b d"]:
        """What the class token takes from all tokens."""
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q[:, :, :1], k, v, seen, DROPOUT if self.training else 0.0)
        return self.proj(mixed.flatten(1))

    def _seen(self, tokens: Float[Tensor, "b n d"]) -> Bool[Tensor, "b 1 1 n"] | None:
        if not self.training:
            return None
        seen = torch.rand(tokens.shape[0], 1, 1, tokens.shape[1], device=tokens.device) < KEPT
        return seen | (torch.arange(tokens.shape[1], device=tokens.device) == 0)

    def _drop(self, x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return F.dropout(x, DROPOUT, self.training)
