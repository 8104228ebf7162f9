"""Kinelite: video action recognition on hardware that people own.

The names below are looked up when they are first used, so that ``import kinelite`` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinelite import recipes
    from kinelite.bench.run import bench
    from kinelite.data.decode import read_clip
    from kinelite.data.sets import load_set
    from kinelite.export.make import export
    from kinelite.models import create_model, list_models
    from kinelite.plan.api import plan
    from kinelite.report.page import make_report
    from kinelite.train.api import Run, evaluate, load, predict, train

__version__ = "0.1.0"

_HOME = {
    "Run": "kinelite.train.api",
    "create_model": "kinelite.models",
    "evaluate": "kinelite.train.api",
    "list_models": "kinelite.models",
    "load": "kinelite.train.api",
    "load_set": "kinelite.data.sets",
    "make_report": "kinelite.report.page",
    "predict": "kinelite.train.api",
    "read_clip": "kinelite.data.decode",
}
_MODULES = ("bench", "export", "plan", "recipes", "train")
"""Modules that are public names themselves; all but `kinelite.recipes` can be called."""

__all__ = [
    "Run",
    "bench",
    "create_model",
    "evaluate",
    "export",
    "list_models",
    "load",
    "load_set",
    "make_report",
    "plan",
    "predict",
    "read_clip",
    "recipes",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"kinelite.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'kinelite' has no attribute '{name}'")
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
