"""The contract that SFA, stored features and chunked encoding need: encoder -> adapter -> temporal -> head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.types import InputSpec

Logits = Float[Tensor, "b k"] | dict[str, Float[Tensor, "b _"]]
"""One tensor for one task, a dict by task for several."""


class Adapter(nn.Module):
    """The two-layer MLP that SFA puts between a frozen encoder and the temporal transformer (stage 2).

    The paper leaves width, activation and initialisation open. Ours: d -> d -> d with GELU, added to its input, second
    layer zero, so that stage 2 begins as exactly the function that stage 1 ended with.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Adapted features, one position at a time."""
        return features + self.fc2(F.gelu(self.fc1(features)))


class Head(nn.ModuleDict):
    """Dropout and one linear classifier per task.

    Weights start as a truncated normal of 0.02 and biases at 0. Scenic starts from zero weights instead; then nothing
    below the head learns in the first step.
    """

    def __init__(self, width: int, heads: Mapping[str, int], dropout: float = 0.0) -> None:
        unusable = [task for task in heads if "." in task or not task or hasattr(nn.ModuleDict, task)]
        if unusable:
            raise UsageError(f"{unusable[0]!r} cannot be the name of a task. Use a plain word such as verb or noun.")
        linears = {task: nn.Linear(width, classes) for task, classes in heads.items()}
        super().__init__(linears)
        self.dropout = dropout
        for linear in linears.values():
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, features: Float[Tensor, "b d"]) -> Logits:
        """Logits of the only task, or of each task by name."""
        features = F.dropout(features, self.dropout, self.training)
        logits = {task: linear(features) for task, linear in self.items()}
        return logits if len(logits) > 1 else next(iter(logits.values()))


class Factorised(nn.Module):
    """A model that sees space first and time afterwards, so that what the encoder sees can be stored.

    A subclass gives `encode`. Parts, which are also the first words of all parameter names: ``encoder``, ``adapter``
    (nothing until `add_adapter`), ``temporal`` (``[b, n, d] -> [b, d]``), ``head``.
    """

    def __init__(self, *, encoder: Any, temporal: nn.Module, head: Head, spec: InputSpec, width: int) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.adapter: nn.Module = nn.Identity()
        self.temporal = temporal
        self.head = head
        self.spec = spec
        self.width = width
        """Length d of a feature vector."""

    def encode(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        """Features of each tubelet alone. Any number of tubelets may be encoded at a time."""
        raise NotImplementedError

    def image_weights(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Weights of an image model under the names and shapes of ``encoder``, and notes on what was changed."""
        raise UsageError(f"{type(self).__name__} does not start from image weights.")

    def add_adapter(self) -> None:
        """Install the adapter, on the device of the classifier; a second call changes nothing."""
        if not isinstance(self.adapter, Adapter):
            self.adapter = Adapter(self.width).to(next(self.head.parameters()))

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """What the classifier sees."""
        return self.temporal(self.adapter(self.encode(video)))

    def classify(self, features: Float[Tensor, "b n d"]) -> Logits:
        """Logits from the output of `encode`, stored or fresh."""
        return self.head(self.temporal(self.adapter(features)))

    def forward(self, video: Float[Tensor, "b c t h w"]) -> Logits:
        """Logits of whole clips."""
        return self.classify(self.encode(video))
