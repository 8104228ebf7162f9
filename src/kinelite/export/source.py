"""What is exported: a run, a weight file, published weights, or a model by its name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kinelite.errors import UsageError, unknown
from kinelite.models.registry import create_model, is_model, list_models
from kinelite.train.trained import Trained, load_trained

SMALL = 5000
"""Values of a tensor up to which it is a gain, an offset, a statistic or a token, not a matrix."""


def trained_or_new(source: str, **built: Any) -> Trained:
    """A trained model, or one that is named, with random weights unless ``built`` has ``pretrained``.

    A file or folder of that name comes before a model. Raises UsageError for what is neither.
    """
    here = Path(source).exists()
    if here or not is_model(source):
        if any(value is not None for value in built.values()):
            given = ", ".join(f"--{name}" for name, value in built.items() if value is not None)
            raise UsageError(f"{given}: only for a model that is named; '{source}' says so itself.")
        if not here and not any(mark in source for mark in "@:/\\") and get_close_matches(source, list_models()):
            raise unknown("model or run", source, list_models(), "kinelite list models")
        return load_trained(source)
    torch.manual_seed(0)
    model: Any = create_model(source, **built)
    pretrained = built.get("pretrained")
    if pretrained in (None, False):
        stir(model)
    tasks = {task: tuple(map(str, range(linear.out_features))) for task, linear in model.head.items()}
    kind = Path("random weights" if pretrained in (None, False) else str(pretrained))
    return Trained(model.eval(), model.spec, tasks, source, kind, Path())


def stir(model: nn.Module) -> None:
    """Shift small parameters and buffers in place, so that no random weight is idle.

    New models begin with branches whose gain is zero and with statistics of 0 and 1, which would hide most of the
    network from whoever compares logits.
    """
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and tensor.numel() < SMALL:
                tensor += 0.1 * torch.rand_like(tensor)


def has_names(trained: Trained) -> bool:
    """Whether a model knows its classes by name; one that was named itself has numbers."""
    return any(classes != tuple(map(str, range(len(classes)))) for classes in trained.tasks.values())


def label(trained: Trained) -> str:
    """Where weights come from, as a file says it: without the folders of this machine."""
    return str(trained.source) if trained.folder == Path() else f"{trained.folder.name}/{trained.source.name}"
