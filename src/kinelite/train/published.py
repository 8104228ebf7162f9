"""Published weights as a trained model: ``MODEL@WEIGHTS``, such as swin3d_t@k400, ready for predict and eval."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kinelite.errors import UsageError
from kinelite.models import create_model
from kinelite.models.checkpoints.files import read_checkpoint
from kinelite.models.checkpoints.hub import Found, find_weights, hub_config
from kinelite.models.registry import card
from kinelite.models.weights import classifier_size, load_weights
from kinelite.train.trained import Trained

KINETICS400 = "kinetics400, alphabetical"
"""What a release says of its classes when torchvision has their names."""


def names_published(run: str) -> bool:
    """Whether a name is MODEL@WEIGHTS, and nothing that lies here."""
    return bool(re.match(r"[\w:.-]+@.", run)) and not run.startswith("hf:") and not Path(run).exists()


def load_published(run: str, device: str | torch.device = "cpu") -> Trained:
    """The model of ``MODEL@WEIGHTS`` with published weights and their classifier, in evaluation mode.

    WEIGHTS is the name of a release of the model, ``hf:OWNER/REPOSITORY[/FILE]``, an https address or a file. Frames,
    pixels, mean and standard deviation are those of the weights. Class names come from the hub's ``config.json`` or,
    for Kinetics-400 in alphabetical order, from torchvision; else classes are numbers, which a warning says.

    Raises UsageError for an unknown model, unknown weights, or weights that are not of the whole model; SetupError
    when they cannot be fetched.
    """
    name, _, source = run.partition("@")
    facts = card(name)
    found = find_weights(source, facts)
    state = read_checkpoint(found.path)
    known: dict[str, Any] = dict(found.release.spec) if found.release else {}
    frames, size = known.pop("frames", None), known.pop("size", None)
    with torch.device("meta"):
        classes = classifier_size(create_model(name, frames=frames, size=size), state)
    if classes is None:
        raise UsageError(
            f"{found.label} holds no classifier of one label per clip, so it cannot label clips. "
            f"Train one from it: kinelite train sfa --model {name} --pretrained {source} --data SPEC"
        )
    model: Any = create_model(name, num_classes=classes, frames=frames, size=size)
    load_weights(model, state)
    model.spec = replace(model.spec, **known)
    labels = class_names(found, source, classes)
    folder = Path("runs") / re.sub(r"[^\w.@-]+", "-", run)
    return Trained(model.to(device).eval(), model.spec, {"label": labels}, name, found.path, folder)


def class_names(found: Found, source: str, classes: int) -> tuple[str, ...]:
    """Names of a classifier's rows, in their order; numbers, and a warning, where nobody says them."""
    address = found.release.address if found.release else source
    if address.startswith("hf:"):
        told = {str(k): str(v) for k, v in hub_config(address).get("id2label", {}).items()}
        names = tuple(told.get(str(number), "") for number in range(classes))
        if all(names) and names[0] != "LABEL_0":
            return names
    if found.release and found.release.classes.startswith(KINETICS400) and classes == 400:
        from torchvision.models import get_weight

        return tuple(get_weight("S3D_Weights.KINETICS400_V1").meta["categories"])
    order = f", numbered as in: {found.release.classes}" if found.release else ""
    warnings.warn(f"{found.label} does not name its {classes} classes; they are numbers{order}.", stacklevel=2)
    return tuple(map(str, range(classes)))
