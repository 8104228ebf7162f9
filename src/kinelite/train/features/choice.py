"""Whether a stage computes the features of its frozen encoder in every epoch, or once and stores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from kinelite.config import FeaturesConfig, Stage, TrainConfig
from kinelite.errors import UsageError
from kinelite.models import Factorised
from kinelite.train.features.room import GIB, Estimate
from kinelite.train.stage import frozen_encoder


@dataclass(frozen=True)
class Choice:
    """What a stage does, and the sentence that says why."""

    mode: Literal["online", "stored"]
    reason: str


def can_be_stored(model: nn.Module) -> bool:
    """Whether what the model's encoder gives stays the same in all epochs: a factorised model, its encoder frozen as a
    whole."""
    return isinstance(model, Factorised) and frozen_encoder(model)


def needs_pixels(config: TrainConfig) -> str | None:
    """What of a config cannot be done to features; None when all of it can."""
    return "cutmix pastes pixels of other clips" if config.optim.cutmix else None


def check_choice(config: TrainConfig, storable: Sequence[bool]) -> None:
    """Raise UsageError when stored features are asked for and no stage can use them.

    ``storable``: for each stage whether its encoder is frozen, see `can_be_stored`.
    """
    asked = config.features
    if asked.mode != "online" and (asked.phases % 2 == 0):
        raise UsageError(f"--features.phases {asked.phases}: an odd number, so that one moment is the middle: 1, 3, 5.")
    if asked.mode != "stored":
        return
    if not any(storable):
        raise UsageError(
            f"--features.mode stored: no stage of recipe '{config.recipe}' freezes the whole encoder of a factorised "
            "model, so there are no features that stay the same. Recipes that do: sfa, frozen, frozen_plain; "
            "models: vivit_fe_*, vtn_*. Or leave the flag out."
        )
    if reason := needs_pixels(config):
        raise UsageError(
            f"--features.mode stored: {reason} (--optim.cutmix {config.optim.cutmix:g}). "
            "On features use --optim.mixup, or take --features.mode online."
        )


def choose_early(config: TrainConfig, stage: Stage) -> Choice | None:
    """The choice for a stage whose features can be stored, as far as it takes no measurement; None: `choose_by_time`.

    Under 'auto' a stage of no more epochs than there would be views runs online: it would not see them all.
    """
    asked = config.features
    if asked.mode != "auto":
        return Choice(asked.mode, "as asked")
    if reason := needs_pixels(config):
        return Choice("online", f"{reason}, which stored features do not have")
    if (stage.epochs or 0) <= asked.views:
        return Choice("online", f"epochs: {stage.epochs}, which is no longer than storing {_views(asked)}")
    return None


def choose_by_time(asked: FeaturesConfig, epochs: int, expected: Estimate, free_bytes: int) -> Choice:
    """The quicker way that the disk allows.

    Both times leave out what both have, the part that trains. One epoch online is taken as one of the stored views,
    although reading several views of a clip at once is cheaper: where it is close, the choice is to stay online.
    """
    decode_s, encode_s = expected.decode_s / asked.views, expected.encode_s / asked.views / asked.phases
    online_s = epochs * Estimate(0, decode_s, encode_s, expected.clips, expected.workers).seconds
    limit = min(free_bytes, asked.max_disk_gib * GIB if asked.max_disk_gib else free_bytes)
    sentence = (
        f"{_views(asked)} once: {expected}, {free_bytes / GIB:.1f} GiB free; "
        f"{epochs} epochs of the encoder: about {_time(online_s)}"
    )
    if expected.bytes > limit:
        return Choice("online", f"the disk has no room; {sentence}")
    return Choice("stored" if expected.seconds < online_s else "online", sentence)


def _views(asked: FeaturesConfig) -> str:
    phases = f" of {asked.phases} phases" if asked.phases > 1 else ""
    return f"{asked.views} view{'' if asked.views == 1 else 's'}{phases}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
