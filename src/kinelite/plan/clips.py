"""How many clips and classes a plan is for: from the set where there is one, from its owner's figures where not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kinelite.config import SplitConfig
from kinelite.data.sets import find_set, load_set, parse_spec

CLIPS, CLASSES = 10_000, 400
"""Where neither a set nor a number is given."""


@dataclass(frozen=True)
class Clips:
    """What is trained on."""

    train: int
    classes: tuple[int, ...]
    """Of each task."""
    source: str


def count_clips(data: str | None, split: SplitConfig, clips: int | None = None, classes: int | None = None) -> Clips:
    """Training clips and classes of a set; ``clips`` and ``classes`` take the place of its own.

    A set that is named without a root counts as its owner announces it. Raises what `load_set` raises.
    """
    found = _of_set(data, split) if data else Clips(CLIPS, (CLASSES,), f"{CLIPS:,} clips assumed (--data, --clips)")
    if clips:
        found = replace(found, train=clips, source=f"{clips:,} clips as asked")
    return replace(found, classes=(classes,)) if classes else found


def _of_set(data: str, split: SplitConfig) -> Clips:
    name, root, _ = parse_spec(data)
    announced = find_set(data).published
    if not root and "train" in announced:
        classes = tuple(count for key, count in announced.items() if key.split()[0] == "classes")
        return Clips(announced["train"], classes, f"{announced['train']:,} training clips of {name}, as published")
    manifest = load_set(data, split)
    train = len(manifest.only("train").rows)
    return Clips(train, tuple(map(len, manifest.tasks.values())), f"{train:,} training clips of {manifest.name}")
