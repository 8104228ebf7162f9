"""Checkpoints of other projects as their code names and shapes them, filled with weights that we can compute."""

from __future__ import annotations

import json
from pathlib import Path

from golden import weights_for
from safetensors.torch import load_file
from torch import Tensor

from kinelite.models.checkpoints.layout import Layout

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def checkpoint(name: str, layout: Layout, gain: float = 1.0) -> dict[str, Tensor]:
    """The state dict of ``reference/layouts/NAME.json``; convolutions are `weights_for` our name times ``gain``."""
    shapes = json.loads((REFERENCE / "layouts" / f"{name}.json").read_text())["shapes"]
    filled = {theirs: weights_for(layout.renamed(theirs), tuple(shape)) for theirs, shape in shapes.items()}
    return {theirs: tensor * gain if tensor.ndim == 4 else tensor for theirs, tensor in filled.items()}


def outputs(name: str) -> dict[str, Tensor]:
    """What their code made of such a checkpoint."""
    return load_file(REFERENCE / f"{name}.safetensors")
