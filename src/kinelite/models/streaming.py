"""Models that take one frame per step and carry what they remember in plain tensors."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kinelite.models.head import Logits
from kinelite.models.model import VideoModel

State = tuple[Float[Tensor, "_ _ _ _"], ...]
"""What a step hands to the next: a fixed number of 4-D tensors of fixed shapes, which mobile runtimes can compile."""


class StreamingModel(VideoModel):
    """A causal model. ``step`` over the frames of a clip ends with the logits that ``forward`` gives for that clip."""

    def start(self, batch: int = 1) -> State:
        """The state before the first frame, for frames of ``spec.size``, on the device of the weights."""
        raise NotImplementedError

    def step(self, frame: Float[Tensor, "b c h w"], state: State | None = None) -> tuple[Logits, State]:
        """Logits after one more frame, and the new state; the given one is not changed. None starts a clip."""
        raise NotImplementedError
