"""What a safetensors file of ours says of itself beside its tensors: model, classes, input."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from kinelite.errors import UsageError

KEY = "kinelite"


def header_of(path: Path) -> dict[str, Any]:
    """What `save_weights` was given beside the weights; empty for any other file, also one that cannot be read.

    Raises UsageError for a header that was written by Kinelite and is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY, "{}")
    except (SafetensorError, OSError):
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise damaged(path, "it is no table of names and values")
    return found


def normalisation_of(path: Path) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation that the weights of a file were trained with, as far as its header has them."""
    spec = header_of(path).get("spec", {})
    if not isinstance(spec, dict):
        raise damaged(path, "its spec is no table")
    found = {name: spec[name] for name in ("mean", "std") if name in spec}
    for name, values in found.items():
        numbers = isinstance(values, list) and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
        if not numbers or len(values) != 3 or (name == "std" and min(values) <= 0):
            raise damaged(path, f"its {name} is {values}, where three numbers are needed")
    return {name: tuple(values) for name, values in found.items()}


def damaged(path: Path, what: str) -> UsageError:
    """The error for a header that cannot be used."""
    return UsageError(f"The header of {path} is damaged: {what}. Copy the file again.")
