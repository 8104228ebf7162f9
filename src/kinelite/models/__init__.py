"""Models by name: `create_model`, `list_models`, `card`, `describe`, and reading and writing their weights.

Importing this package imports no torch; the names below are looked up when they are first used. A model is one file
here: a class, and one short function per variant under `registry.register`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinelite.models.cost import describe
    from kinelite.models.factorised import Adapter, Factorised
    from kinelite.models.head import FrameHead, Head
    from kinelite.models.model import VideoModel
    from kinelite.models.registry import Card, card, create_model, list_models, register
    from kinelite.models.temporal.positions import resize_temporal_positions
    from kinelite.models.weights import WeightReport, load_weights, read_metadata, read_weights, save_weights

_HOME = {
    "describe": "cost",
    "Adapter": "factorised",
    "Factorised": "factorised",
    "FrameHead": "head",
    "Head": "head",
    "VideoModel": "model",
    "Card": "registry",
    "card": "registry",
    "create_model": "registry",
    "list_models": "registry",
    "register": "registry",
    "resize_temporal_positions": "temporal.positions",
    "WeightReport": "weights",
    "load_weights": "weights",
    "read_metadata": "weights",
    "read_weights": "weights",
    "save_weights": "weights",
}

__all__ = [
    "Adapter",
    "Card",
    "Factorised",
    "FrameHead",
    "Head",
    "VideoModel",
    "WeightReport",
    "card",
    "create_model",
    "describe",
    "list_models",
    "load_weights",
    "read_metadata",
    "read_weights",
    "register",
    "resize_temporal_positions",
    "save_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found
    return found
