"""Recipes are whole configs, and say what they cost."""

from __future__ import annotations

import pytest

from kinelite import recipes
from kinelite.config import Stage, TrainConfig
from kinelite.errors import UsageError


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_is_a_config_with_an_example(name: str) -> None:
    make = recipes.recipe(name)
    config = make(epochs=3)
    assert isinstance(config, TrainConfig)
    assert config.recipe == name
    assert config.epochs == 3
    assert f"Example: kinelite train {name} " in (make.__doc__ or "")


def test_sfa_is_eight_frames_then_all_with_the_encoder_frozen() -> None:
    assert recipes.sfa().stages == (
        Stage("short", frames=8),
        Stage("long", freeze=("encoder.*",), adapter=True),
    )


def test_the_ablations_freeze_from_the_start_with_and_without_adapter() -> None:
    assert [(s.freeze, s.adapter) for s in recipes.frozen().stages] == [(("encoder.*",), True)]
    assert [(s.freeze, s.adapter) for s in recipes.frozen_plain().stages] == [(("encoder.*",), False)]
    assert [(s.freeze, s.adapter) for s in recipes.conventional().stages] == [((), False)]


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'sffa'\. Nearest: sfa.*kinelite list recipes"):
        recipes.recipe("sffa")


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="epoch"):
        recipes.sfa(epoch=3)
