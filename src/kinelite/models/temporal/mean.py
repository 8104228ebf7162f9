"""The mean over time: what is left of a model without a transformer over time."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from kinelite.models.temporal.part import TemporalPart


class TemporalMean(TemporalPart):
    """LayerNorm of each tubelet's features, then their mean: it does not see their order, and takes any number.

    Nothing is projected, so the vector is as long as the features are.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.norm = nn.LayerNorm(features, eps=1e-6)

    def forward(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        """Mean over the tubelets."""
        return self.norm(features).mean(dim=1)
