"""transformers' TimeSformer-Base with divided attention."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from transformers import TimesformerConfig, TimesformerForVideoClassification


class FramesFirst(nn.Module):
    """It takes ``[b, t, c, h, w]``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b k"]:
        """Logits."""
        return self.model(video.transpose(1, 2)).logits


def build(frames: int, size: int, classes: int) -> nn.Module:
    """It takes the frames and pixels that it is built for."""
    config = TimesformerConfig(image_size=size, num_frames=frames, num_labels=classes)
    return FramesFirst(TimesformerForVideoClassification(config))
