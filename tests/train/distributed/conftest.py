"""Clips and configs for processes that work together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinelite import recipes
from kinelite.config import KeepConfig, TrainConfig


@pytest.fixture(scope="session")
def some_clips(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of two classes and a thirteenth that cannot be decoded."""
    folder = tmp_path_factory.mktemp("uneven") / "clips"
    shutil.copytree(clip_folder, folder)
    (folder / "moves_down" / "broken.mp4").write_bytes(b"no video at all")
    return folder


@pytest.fixture(scope="session")
def make(some_clips: Path) -> Callable[..., TrainConfig]:
    """A config whose last step of an epoch has a single clip, so that one of two processes has none."""

    def config(out: Path, recipe: str = "conventional", **fields: Any) -> TrainConfig:
        given: dict[str, Any] = {"data": f"folder:{some_clips}", "model": "vivit_fe_nano", "out": out, "frames": 4}
        given |= {"size": 32, "epochs": 2, "batch": 5, "device": "cpu", "workers": 0}
        given |= {"keep": KeepConfig(strips=1, every_steps=2)}
        return recipes.recipe(recipe)(**given | fields)

    return config
