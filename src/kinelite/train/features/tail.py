"""What stands behind a frozen encoder, as a model of features: all that a stage on stored features runs."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from kinelite.models import Factorised
from kinelite.models.head import Logits


class Tail(nn.Module):
    """Every part of a factorised model but its encoder, which stays where it is: a device that this module is put on
    never holds it. The parts are the model's own, so what they learn the model has learnt."""

    def __init__(self, model: Factorised) -> None:
        super().__init__()
        for name, part in model.named_children():
            if name != "encoder":
                self.add_module(name, part)
        self._classify = model.classify

    def forward(self, features: Float[Tensor, "b n d"]) -> Logits:
        """Logits, as `Factorised.classify` gives them."""
        return self._classify(features)
