"""How a file is called: with a clip at once, or with one frame after the other and what was kept of those before."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.export import Inputs, Run
from kinelite.export.facts import Facts
from kinelite.models.streaming import StreamingModel
from kinelite.train.step import task_logits


class Step(nn.Module):
    """A streaming model as a function of a frame and its state: the logits of each task, then the new state."""

    def __init__(self, model: StreamingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Float[Tensor, "b c h w"], *state: Tensor) -> tuple[Tensor, ...]:
        """One frame more."""
        logits, new = self.model.step(frame, state)
        return (*task_logits(logits), *new)


def stepping(model: nn.Module, name: str) -> StreamingModel:
    """The model itself. Raises UsageError for one that does not take one frame at a time."""
    if not isinstance(model, StreamingModel):
        raise UsageError(f"'{name}' does not take one frame at a time. See: kinelite list models '*stream*'")
    return model


def first_inputs(video: Float[Tensor, "b c t h w"], facts: Facts) -> Inputs:
    """What the first call takes: the clip, or its first frame and a state of zeros."""
    if not facts.state:
        return (video,)
    return (video[:, :, 0].contiguous(), *(torch.zeros(shape) for shape in facts.state))


def called(run: Run, facts: Facts, video: Float[Tensor, "b c t h w"]) -> list[Float[Tensor, "_ _"]]:
    """Logits of each task for as many clips as the file takes; of a stream after the last frame.

    Their shapes are what the file gives, right or not.
    """
    *_, last = calls(run, facts, video)
    made = run(*last)
    return list(made[: len(made) - len(facts.state)])


def calls(run: Run, facts: Facts, video: Float[Tensor, "b c t h w"]) -> Iterator[Inputs]:
    """What each call for a clip is given; the state of a stream comes from calling ``run`` with what was before."""
    inputs = first_inputs(video, facts)
    yield inputs
    for number in range(1, video.shape[2] if facts.state else 1):
        made = run(*inputs)
        # A runtime writes over its own memory with the next call.
        inputs = (video[:, :, number].contiguous(), *(part.clone() for part in made[len(made) - len(facts.state) :]))
        yield inputs
