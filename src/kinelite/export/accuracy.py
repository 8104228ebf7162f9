"""What another runtime, or fewer bits, cost in accuracy: the same clips in PyTorch and in the file."""

from __future__ import annotations

from pathlib import Path

import torch

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest
from kinelite.data.sets import load_set
from kinelite.errors import DataError
from kinelite.export.exported import open_exported
from kinelite.train.assess import choose_split, in_order_of, saved_config
from kinelite.train.evaluate import Scores, score
from kinelite.train.trained import Trained


def as_split(trained: Trained, data: str) -> Manifest:
    """A set, split as the run had split it, where there is a run."""
    config = saved_config(trained)
    return load_set(data, config.split if config else SplitConfig())


def to_score(trained: Trained, data: str, on: str = "val") -> Manifest:
    """Clips of a split with the class numbers of the model.

    Raises UsageError for a split that the set does not have, DataError for labels that the model does not know.
    """
    return in_order_of(trained, choose_split(as_split(trained, data), on))


def accuracies(trained: Trained, path: Path, clips: Manifest) -> tuple[float, float, int]:
    """Share of clips whose label of the first task is right, in PyTorch and in a file, and their number.

    Raises DataError when no clip can be scored.
    """
    found = []
    for model in (trained, open_exported(path)):
        scores = score(model.model, clips, trained.spec, torch.device("cpu"), batch=8)
        if not scores.indices:
            raise DataError(f"No clip of {clips.name} could be scored. {path} is written.")
        found.append(_right(scores))
    return found[0], found[1], len(scores.indices)


def _right(scores: Scores) -> float:
    return float((scores.logits[0].argmax(1) == scores.labels[:, 0]).float().mean())
