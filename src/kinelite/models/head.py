"""Classifiers: one linear layer per task, over one vector per clip or over one per frame."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.errors import UsageError

Logits = Float[Tensor, "b k"] | dict[str, Float[Tensor, "b _"]]
"""One tensor for one task, a dict by task for several."""


class Head(nn.ModuleDict):
    """Dropout and one linear classifier per task.

    Weights start as a truncated normal of ``std`` and biases at 0. Scenic starts from zero weights instead; then
    nothing below the head learns in the first step.
    """

    def __init__(self, width: int, heads: Mapping[str, int], dropout: float = 0.0, std: float = 0.02) -> None:
        taken = nn.ModuleDict()
        unusable = [task for task in heads if "." in task or task in ("", "dropout") or hasattr(taken, task)]
        if unusable:
            raise UsageError(f"{unusable[0]!r} cannot be the name of a task. Use a plain word such as verb or noun.")
        linears = {task: nn.Linear(width, classes) for task, classes in heads.items()}
        super().__init__(linears)
        self.dropout = dropout
        for linear in linears.values():
            nn.init.trunc_normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)

    def forward(self, features: Float[Tensor, "b d"]) -> Logits:
        """Logits of the only task, or of each task by name."""
        return _logits(self, F.dropout(features, self.dropout, self.training))


class FrameHead(Head):
    """A head over one vector per frame whose logits are averaged over the frames, as in TSN (1608.00859).

    Each frame has its own dropout. The mean is taken before the linear layer: the same logits for less work.
    """

    def forward(self, features: Float[Tensor, "b n d"]) -> Logits:
        """Mean logits of the only task, or of each task by name."""
        return _logits(self, F.dropout(features, self.dropout, self.training).mean(dim=1))


def _logits(linears: Head, features: Float[Tensor, "b d"]) -> Logits:
    logits = {task: linear(features) for task, linear in linears.items()}
    return logits if len(logits) > 1 else next(iter(logits.values()))
