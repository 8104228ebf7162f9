"""Recipes: functions that return one complete, frozen config.

Any field of `TrainConfig` can be given: ``recipes.sfa(data="folder:clips/", epochs=10)``. On the command line a recipe
is the word after ``kinelite train``, and every field is a flag.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kinelite.config import OptimConfig, Stage, TrainConfig
from kinelite.errors import unknown

FROZEN = ("encoder.*",)
"""The whole spatial transformer, tubelet embedding included."""


def conventional(**fields: Any) -> TrainConfig:
    """One stage: the whole model, end to end, on all frames. What SFA is compared with.

    Example: kinelite train conventional --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Cost: 1 (the unit of *Optimizing ViViT Training*, Figure 1).
    """
    return replace(TrainConfig(recipe="conventional", stages=(Stage("end-to-end"),)), **fields)


def sfa(**fields: Any) -> TrainConfig:
    """Two stages (*Optimizing ViViT Training*, 3.2): 8 frames end to end; then all frames with the spatial transformer
    frozen, a two-layer adapter, and the temporal transformer continued from the first stage.

    Example: kinelite train sfa --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Cost: 0.56 of conventional training published for ViViT-L at 128 frames; ours is in README.
    """
    stages = (Stage("short", frames=8), Stage("long", freeze=FROZEN, adapter=True))
    return replace(TrainConfig(recipe="sfa", stages=stages), **fields)


def frozen(**fields: Any) -> TrainConfig:
    """Ablation III of *Optimizing ViViT Training* (Table 1): spatial transformer frozen from the start, adapter,
    temporal transformer from scratch.

    Example: kinelite train frozen --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Published on Something-Something V2: 38.8 % top-1 where conventional training has 64.5 % and SFA 63.9 %.
    """
    stages = (Stage("frozen", freeze=FROZEN, adapter=True),)
    return replace(TrainConfig(recipe="frozen", stages=stages), **fields)


def frozen_plain(**fields: Any) -> TrainConfig:
    """Ablation I of *Optimizing ViViT Training* (Table 1): as ``frozen``, without the adapter.

    Example: kinelite train frozen_plain --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Published on Something-Something V2: 27.8 % top-1.
    """
    return replace(TrainConfig(recipe="frozen_plain", stages=(Stage("frozen", freeze=FROZEN),)), **fields)


RECIPES: dict[str, Callable[..., TrainConfig]] = {
    recipe.__name__: recipe for recipe in (conventional, sfa, frozen, frozen_plain)
}


def recipe(name: str) -> Callable[..., TrainConfig]:
    """The recipe function of that name. Raises UsageError with the nearest names."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES, "kinelite list recipes")
    return RECIPES[name]


__all__ = ["OptimConfig", "RECIPES", "conventional", "frozen", "frozen_plain", "recipe", "sfa"]
