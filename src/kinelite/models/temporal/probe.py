"""The attentive probe: one learned query that looks at all tubelets once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.models.temporal.part import TemporalPart, projection, start_linear
from kinelite.models.temporal.positions import POSITION_STD

QUERY_STD = 0.02
"""So small that the probe starts close to a mean: all tubelets are looked at alike."""


class AttentiveProbe(TemporalPart):
    """Attentive pooling as in the frozen evaluation of V-JEPA (2404.08471): a query attends to the features.

    Of the paper: one learned query, keys and values by one matrix each, heads, the result added to the query, an MLP of
    two layers with GELU, LayerNorm. Of its code: features and the MLP's input are normalised, and the MLP is added to
    its input. Ours: positions in time, learned and added to the normalised features, because one vector per tubelet
    does not say when it was seen. The query needs no matrix of its own: it is learned.
    """

    def __init__(self, width: int, *, heads: int, tubelets: int, features: int, mlp_width: int) -> None:
        super().__init__(width)
        self.heads = heads
        self.project = projection(features, width)
        self.query = nn.Parameter(torch.empty(1, 1, width).normal_(std=QUERY_STD))
        self.positions = nn.Parameter(torch.empty(1, tubelets, width).normal_(std=POSITION_STD))
        self.norm_features = nn.LayerNorm(width, eps=1e-6)
        # Without a bias, which would add the same to every weight of a query.
        self.keys = nn.Linear(width, width, bias=False)
        self.values = nn.Linear(width, width)
        self.norm_query = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(start_linear)

    def forward(self, features: Float[Tensor, "b n d_in"]) -> Float[Tensor, "b d"]:
        """The query after it looked. Raises UsageError for another number of tubelets than was built for."""
        self.check_tubelets(features.shape[1], self.positions.shape[1])
        tokens = self.norm_features(self.project(features)) + self.positions
        query = self.query.expand(features.shape[0], -1, -1)
        q, k, v = self._heads(query), self._heads(self.keys(tokens)), self._heads(self.values(tokens))
        seen = F.scaled_dot_product_attention(q, k, v)
        query = query + seen.transpose(1, 2).flatten(2)
        return self.norm(query + self.mlp(self.norm_query(query)))[:, 0]

    def _heads(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b heads n e"]:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
