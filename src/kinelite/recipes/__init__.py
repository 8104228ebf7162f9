"""Recipes: functions that return one complete, frozen config.

Any field of `TrainConfig` can be given: ``recipes.sfa(data="folder:clips/", epochs=10)``. On the command line a recipe
is the word after ``kinelite train``, and every field is a flag. A docstring says what the recipe does, then its command
(Example:), its cost (Cost:) and what its paper reports (Published:); `kinelite list recipes` shows them.
"""

from __future__ import annotations

from collections.abc import Callable

from kinelite.config import OptimConfig, TrainConfig
from kinelite.errors import unknown
from kinelite.recipes.basic import (
    FROZEN,
    conventional,
    frozen,
    frozen_plain,
    frozen_temporal,
    sfa,
    sfa_long,
    sfa_short,
    sfa_unfrozen,
)
from kinelite.recipes.cost import encoder_passes, relative_cost
from kinelite.recipes.curricula import curriculum_a, curriculum_b, curriculum_c, curriculum_d, curriculum_e
from kinelite.recipes.lightweight import TABLE_6, lightweight, table_6
from kinelite.recipes.vivit import vivit, vivit_12gb, vivit_24gb, vivit_sfa, vivit_sfa_12gb, vivit_sfa_24gb

Recipe = Callable[..., TrainConfig]

RECIPES: dict[str, Recipe] = {
    make.__name__: make
    for make in (
        conventional,
        sfa,
        sfa_short,
        sfa_long,
        sfa_unfrozen,
        frozen,
        frozen_plain,
        frozen_temporal,
        curriculum_a,
        curriculum_b,
        curriculum_c,
        curriculum_d,
        curriculum_e,
        vivit,
        vivit_sfa,
        vivit_12gb,
        vivit_24gb,
        vivit_sfa_12gb,
        vivit_sfa_24gb,
        lightweight,
    )
}


def recipe(name: str) -> Recipe:
    """The recipe function of that name. Raises UsageError with the nearest names."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES, "kinelite list recipes")
    return RECIPES[name]


def summary(make: Recipe) -> str:
    """The first paragraph of a recipe's docstring, on one line."""
    return _paragraphs(make)[0]


def told(make: Recipe, word: str) -> str:
    """What a recipe's docstring says after ``word`` ('Cost', 'Published', 'Example'), or ''."""
    begin = f"{word}: "
    return next((text.removeprefix(begin) for text in _paragraphs(make) if text.startswith(begin)), "")


def _paragraphs(make: Recipe) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in (make.__doc__ or "").split("\n\n")]


__all__ = [
    "FROZEN",
    "RECIPES",
    "TABLE_6",
    "OptimConfig",
    "Recipe",
    "conventional",
    "curriculum_a",
    "curriculum_b",
    "curriculum_c",
    "curriculum_d",
    "curriculum_e",
    "encoder_passes",
    "frozen",
    "frozen_plain",
    "frozen_temporal",
    "lightweight",
    "recipe",
    "relative_cost",
    "sfa",
    "sfa_long",
    "sfa_short",
    "sfa_unfrozen",
    "summary",
    "table_6",
    "told",
    "vivit",
    "vivit_12gb",
    "vivit_24gb",
    "vivit_sfa",
    "vivit_sfa_12gb",
    "vivit_sfa_24gb",
]
