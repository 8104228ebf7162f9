"""The contract that SFA, stored features and chunked encoding need: encoder -> adapter -> temporal -> head."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.models.head import Head, Logits
from kinelite.models.model import VideoModel
from kinelite.models.temporal.part import TemporalPart
from kinelite.types import InputSpec


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


class Factorised(VideoModel):
    """A model that sees space first and time afterwards, so that what the encoder sees can be stored.

    A subclass gives `encode`. Parts, which are also the first words of all parameter names: ``encoder``, ``adapter``
    (nothing until `add_adapter`), ``temporal`` (``[b, n, d] -> [b, d]``), ``head``.
    """

    adapter: nn.Module
    temporal: nn.Module
    tubelet: int = 1
    """Frames that become one feature vector."""

    def __init__(self, *, encoder: Any, temporal: nn.Module, head: Head, spec: InputSpec, width: int) -> None:
        super().__init__(encoder=encoder, adapter=nn.Identity(), temporal=temporal, head=head, spec=spec)
        self.width = width
        """Length d of a feature vector."""

    def encode(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        """Features of each tubelet alone. Any number of tubelets may be encoded at a time."""
        raise NotImplementedError

    def add_adapter(self) -> None:
        """Install the adapter, on the device of the classifier; a second call changes nothing."""
        if not isinstance(self.adapter, Adapter):
            self.adapter = Adapter(self.width).to(next(self.head.parameters()))

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """What the classifier sees."""
        return self.temporal(self.adapter(self.encode(video)))

    def forward(
        self, video: Float[Tensor, "b c t h w"] | Float[Tensor, "b n d"], encode_only: bool = False
    ) -> Logits | Float[Tensor, "b n d"]:
        """Logits of whole clips, or of the features of clips as `encode` gives them, stored or fresh.

        With ``encode_only``, features of a video and nothing else. Every way into the model is this one, because
        precision, compilation and several devices take hold here.
        """
        if encode_only:
            return self.encode(video)
        return self.classify(video) if video.ndim == 3 else super().forward(video)

    def classify(self, features: Float[Tensor, "b n d"]) -> Logits:
        """Logits from the output of `encode`, stored or fresh."""
        return self.head(self.temporal(self.adapter(features)))

    def fit_state(self, state: dict[str, Tensor], notes: list[str]) -> None:
        """Interpolate temporal positions where only the number of tubelets differs."""
        if isinstance(self.temporal, TemporalPart):
            self.temporal.fit_state(state, "temporal.", notes)
