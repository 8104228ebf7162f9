"""What all parts over time have in common."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.models.temporal.positions import fit_positions


class TemporalPart(nn.Module):
    """From the features of all tubelets ``[b, n, d_in]`` to one vector ``[b, d]`` per clip."""

    others: int = 0
    """How many entries of ``positions`` stand before those of the tubelets."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        """Length d of the vector that the classifier sees."""

    def forward(self, features: Float[Tensor, "b n d_in"]) -> Float[Tensor, "b d"]:
        """One vector per clip. Raises UsageError for a number of tubelets that it was not built for."""
        raise NotImplementedError

    def check_tubelets(self, given: int, own: int) -> None:
        """Raise UsageError unless a clip has as many tubelets as there are positions."""
        if given != own:
            raise UsageError(
                f"This model was built for {own} tubelets per clip and got {given}. "
                "Build it with frames=... of the clips and load the weights again: positions are then interpolated."
            )

    def fit_state(self, state: dict[str, Tensor], prefix: str, notes: list[str]) -> None:
        """Interpolate positions in the weights of a whole model, in place, where only the number of tubelets differs.

        ``prefix`` are the words before this part's own names, such as ``temporal.``.
        """
        own = self.state_dict().get("positions")
        if own is not None:
            name = f"{prefix}positions"
            fit_positions(state, name, own, notes, "temporal positions", "tubelets", self.others)


def projection(features: int, width: int) -> nn.Module:
    """A linear layer from the features to the width of a part; nothing where they are equal."""
    return nn.Identity() if features == width else nn.Linear(features, width)


def start_linear(module: nn.Module) -> None:
    """Xavier uniform weights, of q, k and v apart, and zero biases, as in Scenic. For `nn.Module.apply`."""
    if isinstance(module, nn.Linear):
        parts = 3 if module.out_features == 3 * module.in_features else 1
        for part in module.weight.chunk(parts):
            nn.init.xavier_uniform_(part)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
