"""Table 7 of *Optimizing ViViT Training* (arXiv 2306.04822): what ViViT trains with on each of six sets.

Alike for all: SGD with momentum 0.9, batch 128, cosine with a linear warm-up of 2.5 epochs, random crop, mirror with
probability 0.5, scale jitter from 0.9 to 1.33. What the table leaves out is from the ViViT configs in Scenic, the code
that the paper builds on: stride of the frames (2 for Kinetics, 1 for Something-Something and EPIC-Kitchens), no weight
decay, gradients clipped to norm 1. Moments in Time and Something-Else have no config there; they take those of
Kinetics and of Something-Something.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from kinelite.errors import UsageError

BATCH, MOMENTUM, WARMUP_EPOCHS = 128, 0.9, 2.5


@dataclass(frozen=True)
class Column:
    """What differs between sets."""

    lr: float
    """Base learning rate, for 128 clips per step."""
    epochs: int
    policy: str
    """Augmentation: a name of `kinelite list policies`."""
    stride: int = 1
    """Distance between frames."""
    drop_path: float | None = None
    """Stochastic depth of the last layer."""
    label_smoothing: float = 0.0
    mixup: float = 0.0


COLUMNS = {
    "kinetics400": Column(0.1, 30, "vivit_kinetics400", stride=2),
    "kinetics600": Column(0.1, 30, "vivit_kinetics600", stride=2),
    "moments": Column(0.25, 10, "vivit_moments", stride=2),
    "epic100": Column(0.5, 50, "vivit_epic", drop_path=0.2, label_smoothing=0.2, mixup=0.1),
    "ssv2": Column(0.5, 35, "vivit_ssv2_unmirrored", drop_path=0.3, label_smoothing=0.3, mixup=0.3),
    "something_else": Column(0.5, 35, "vivit_something_else_unmirrored"),
}
"""By the name of the set. The paper mirrors half of the clips of all six. In the two Something sets left and right are
part of the labels ("pushing something from left to right"), so theirs are not mirrored here; the policies vivit_ssv2
and vivit_something_else are the table's own."""


def column(recipe: str, data: str, policy: str = "auto") -> Column:
    """The column for a set, or the one that a policy ``vivit_*`` names, for the same clips under another set's name.

    Raises UsageError for a set without a column, naming those that have one.
    """
    if policy.startswith("vivit_"):
        named = {c.policy.removesuffix("_unmirrored"): c for c in COLUMNS.values()}
        if policy.removesuffix("_unmirrored") in named:
            return named[policy.removesuffix("_unmirrored")]
    name = data.partition(":")[0]
    if name in COLUMNS:
        return COLUMNS[name]
    near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.4)
    policies = ", ".join(c.policy for c in COLUMNS.values())
    raise UsageError(
        f"Recipe '{recipe}' has the values of a paper for {', '.join(COLUMNS)}, and --data is '{data}'."
        + (f" Nearest: {near[0]}." if near else "")
        + " For clips of these sets under another name (store:, csv:) say whose values, with --clips.policy and one of "
        f"{policies}. For other clips: kinelite train sfa"
    )
