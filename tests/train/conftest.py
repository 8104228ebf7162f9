"""Runs of seconds: the smallest model on two classes of six tiny clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinelite import recipes
from kinelite.config import KeepConfig, TrainConfig

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def quick(clip_folder: Path, tmp_path: Path) -> MakeConfig:
    """A config of a run of 3 steps per epoch; any field can be given, and ``recipe``."""

    def make(recipe: str = "conventional", **fields: Any) -> TrainConfig:
        given: dict[str, Any] = {
            "data": f"folder:{clip_folder}",
            "model": "vivit_fe_nano",
            "out": tmp_path / "run",
            "frames": 4,
            "size": 32,
            "epochs": 1,
            "batch": 4,
            "device": "cpu",
            "workers": 0,
            "keep": KeepConfig(strips=1),
        }
        return recipes.recipe(recipe)(**given | fields)

    return make
