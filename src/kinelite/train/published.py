"""Published weights as a trained model: ``MODEL@WEIGHTS``, such as swin3d_t@k400, ready for predict and eval."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import create_model
from kinelite.models.checkpoints.files import read_checkpoint
from kinelite.models.checkpoints.header import header_of
from kinelite.models.checkpoints.hub import Found, find_weights, hub_config
from kinelite.models.checkpoints.layout import State
from kinelite.models.registry import KINETICS400, Card, card
from kinelite.models.weights import classifier_size, load_weights
from kinelite.train.trained import Trained, load_own


def names_published(run: str) -> bool:
    """Whether a name is MODEL@WEIGHTS, and nothing that lies here."""
    return bool(re.match(r"[\w:.-]+@.", run)) and not run.startswith("hf:") and not Path(run).exists()


def load_published(run: str, device: str | torch.device = "cpu") -> Trained:
    """The model of ``MODEL@WEIGHTS`` with published weights and their classifier, in evaluation mode.

    WEIGHTS is the name of a release of the model, ``hf:OWNER/REPOSITORY[/FILE]``, an https address or a file. Frames,
    pixels, mean and standard deviation are those of the weights. Class names come from the hub's ``config.json`` or,
    for Kinetics-400 in alphabetical order, from torchvision; else classes are numbers, which a warning says. A file
    that kinelite train wrote is read as `load_own` reads it.

    Raises UsageError for an unknown model, unknown weights, or weights that are not of the whole model; SetupError
    when they cannot be fetched.
    """
    name, _, source = run.partition("@")
    facts = card(name)
    source = _named(facts, source)
    found = find_weights(source, facts)
    folder = Path("runs") / re.sub(r"[^\w.@-]+", "-", run)
    if own := header_of(found.path).get("model"):
        # Written by kinelite train: classes, frames and pixels are in the file.
        if own != name:
            raise UsageError(f"{found.label} is of the model {own}, not {name}. Without a name before it, it is read.")
        return load_own(found.path, device, None if Path(source).is_file() else folder)
    state = read_checkpoint(found.path)
    known: dict[str, Any] = dict(found.release.spec) if found.release else {}
    built: dict[str, Any] = {"frames": known.pop("frames", None), "size": known.pop("size", None)}
    built |= {"net": NetConfig(**found.release.net)} if found.release else {}
    heads = dict(found.release.heads) if found.release else {}
    heads = heads or {"label": _count_classes(name, state, found.label, source, built)}
    model: Any = create_model(name, heads=heads, **built)
    load_weights(model, state)
    model.spec = replace(model.spec, **known)
    tasks = {task: class_names(found, source, classes) for task, classes in heads.items()}
    return Trained(model.to(device).eval(), model.spec, tasks, name, found.path, folder)


def _named(facts: Card, source: str) -> str:
    """What is meant by 'hub': the first release of a model without image weights. Others are as they are."""
    if source != "hub":
        return source
    if facts.weights or not facts.releases:
        whole = ", ".join(f"{facts.name}@{release.name}" for release in facts.releases)
        raise UsageError(
            f"'hub' stands for image weights, and there are none of the whole {facts.name} that could label clips. "
            f"{f'Its releases: {whole}.' if whole else 'Train one: kinelite train lightweight --help'}"
        )
    return facts.releases[0].name


def _count_classes(name: str, state: State, label: str, source: str, built: dict[str, Any]) -> int:
    with torch.device("meta"):
        classes = classifier_size(create_model(name, **built), state)
    if classes is None:
        # Weights of another model are told by what does not fit.
        load_weights(create_model(name, **built), state, allow_new_head=True)
        raise UsageError(
            f"{label} holds no classifier of one label per clip, so it cannot label clips. "
            f"Train one from it: kinelite train lightweight --model {name} --pretrained {source} --data SPEC"
        )
    return classes


def class_names(found: Found, source: str, classes: int) -> tuple[str, ...]:
    """Names of a classifier's rows, in their order; numbers, and a warning, where nobody says them."""
    address = found.release.address if found.release else source
    if address.startswith("hf:"):
        given = hub_config(address).get("id2label")
        told = {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}
        names = tuple(told.get(str(number), "") for number in range(classes))
        if all(names) and names[0] != "LABEL_0":
            return names
    if found.release and found.release.classes.startswith(KINETICS400) and classes == 400:
        from torchvision.models import get_weight

        return tuple(get_weight("S3D_Weights.KINETICS400_V1").meta["categories"])
    order = f", numbered as in: {found.release.classes}" if found.release else ""
    warnings.warn(f"{found.label} does not name its {classes} classes; they are numbers{order}.", stacklevel=2)
    return tuple(map(str, range(classes)))
