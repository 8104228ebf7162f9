"""What every model is: an encoder, a head, an input; and what it can start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.models.checkpoints.layout import Layout
from kinelite.models.encoder import timm_weights
from kinelite.models.head import Head, Logits
from kinelite.types import InputSpec

if TYPE_CHECKING:
    from kinelite.models.registry import Card


class VideoModel(nn.Module):
    """From video ``[b, c, t, h, w]`` to logits, in two steps: features, then one classifier per task.

    All parameter names begin with ``encoder.``, ``head.`` or the name of a part that stands between them. A subclass
    gives `forward_features`, and says what it can start from: `image_weights`, `layouts`.
    """

    layouts: ClassVar[tuple[Layout, ...]] = ()
    """Published checkpoints that fit, each by the names that its authors chose."""
    card: Card | None = None
    """What `create_model` built it from."""
    image: str = ""
    """timm's name of the image weights that ``pretrained='hub'`` loads into the encoder; empty when there are none."""

    def __init__(self, *, encoder: Any, head: Head, spec: InputSpec, **parts: nn.Module) -> None:
        super().__init__()
        self.encoder: Any = encoder
        for name, part in parts.items():
            self.add_module(name, part)
        self.head = head
        self.spec = spec

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b *n d"]:
        """What the classifier sees: one vector per clip, or per frame ``[b, n, d]`` with a `FrameHead`."""
        raise NotImplementedError

    def forward(self, video: Float[Tensor, "b c t h w"]) -> Logits:
        """Logits of whole clips."""
        return self.head(self.forward_features(video))

    def in_backbone(self, name: str) -> bool:
        """Whether a parameter comes from image weights: what the lightweight recipe freezes in its first epoch."""
        return name.startswith("encoder.")

    def published_image(self) -> tuple[dict[str, Tensor], str] | None:
        """Image weights for the encoder as timm publishes them, and their name; None when the model has none.

        Raises SetupError when they cannot be fetched.
        """
        return (timm_weights(self.image), self.image) if self.image else None

    def image_weights(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Weights of an image model under the names and shapes of ``encoder``, and notes on what was changed.

        They must fill every entry of the encoder that is `in_backbone`, and nothing else.
        """
        raise UsageError(f"{type(self).__name__} does not start from image weights.")

    def fit_state(self, state: dict[str, Tensor], notes: list[str]) -> None:
        """Change weights of this architecture, in place, where they were made for other frames or pixels.

        Called with our names before shapes are compared; each change is told in ``notes``.
        """
