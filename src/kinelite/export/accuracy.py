"""What another runtime, or fewer bits, cost in accuracy: the same clips in PyTorch and in the file."""

from __future__ import annotations

from pathlib import Path

import torch

from kinelite.config import SplitConfig
from kinelite.data.sets import load_set
from kinelite.errors import DataError
from kinelite.export.exported import open_exported
from kinelite.train.assess import choose_split, in_order_of, saved_config
from kinelite.train.evaluate import Scores, score
from kinelite.train.trained import Trained


def accuracies(trained: Trained, path: Path, data: str, on: str = "val") -> tuple[float, float, int]:
    """Share of clips whose label of the first task is right, in PyTorch and in a file, and their number.

    The split is that of the run, where it is known. Raises DataError when no clip can be scored.
    """
    config = saved_config(trained)
    manifest = in_order_of(trained, choose_split(load_set(data, config.split if config else SplitConfig()), on))
    found = []
    for model in (trained, open_exported(path)):
        scores = score(model.model, manifest, trained.spec, torch.device("cpu"), batch=8)
        if not scores.indices:
            raise DataError(f"No clip of {data} ({on}) could be scored.")
        found.append(_right(scores))
    return found[0], found[1], len(scores.indices)


def _right(scores: Scores) -> float:
    return float((scores.logits[0].argmax(1) == scores.labels[:, 0]).float().mean())
