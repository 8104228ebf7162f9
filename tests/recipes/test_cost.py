"""What recipes cost is counted by one formula, and their docstrings say what it gives."""

from __future__ import annotations

import re

import pytest

from kinelite import recipes
from kinelite.config import Stage, TrainConfig
from kinelite.recipes import encoder_passes, relative_cost, told


@pytest.mark.parametrize(("frames", "epochs", "views"), [(32, 30, 4), (128, 10, 1), (16, 7, 3)])
def test_the_formulas_of_conventional_sfa_and_stored_features(frames: int, epochs: int, views: int) -> None:
    given = {"frames": frames, "epochs": epochs}
    assert encoder_passes(recipes.conventional(**given)) == 3 * frames * epochs
    assert encoder_passes(recipes.sfa(**given)) == 24 * epochs + frames * epochs
    assert encoder_passes(recipes.sfa(**given), views) == 24 * epochs + frames * views
    assert relative_cost(recipes.conventional(**given), views) == 1


def test_the_table_of_published_and_stored_costs() -> None:
    """Cost at 32 and 128 frames: SFA as published, features once, and with a third of stage 1."""
    for frames, published, stored, short in ((32, 0.58, 0.29, 0.13), (128, 0.40, 0.11, 0.065)):
        sfa = recipes.sfa(frames=frames)
        assert relative_cost(sfa) == pytest.approx(published, abs=0.005)
        assert relative_cost(sfa, 4) == pytest.approx(stored, abs=0.005)
        assert relative_cost(recipes.sfa_short(frames=frames), 4) == pytest.approx(short, abs=0.0025)


def test_smaller_pictures_and_dropped_patches_count_by_their_share() -> None:
    def passes(stage: Stage) -> float:
        return encoder_passes(TrainConfig(frames=8, epochs=2, size=64, stages=(stage,)))

    assert passes(Stage()) == 48
    assert passes(Stage(size=32)) == 12
    assert passes(Stage(drop_tokens=0.5)) == 24
    assert passes(Stage(freeze=("encoder.patch_embed.*",))) == 48, "a part of the encoder saves nothing that counts"
    assert passes(Stage(freeze=("*",))) == 16


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_docstrings_say_the_cost_that_the_formula_gives(name: str) -> None:
    make = recipes.recipe(name)
    text = told(make, "Cost")
    said = [float(number) for number in re.findall(r"(?<![\w.])\d(?:\.\d+)?(?= at|[,;. ]| and|$)", text)]
    first = relative_cost(make())
    assert said
    assert said[0] == pytest.approx(first, abs=0.03 if name == "lightweight" else 0.006), text
    stored = re.search(r"4 views stored ([\d.]+\d)", text)
    assert (stored is not None) == (relative_cost(make(), 4) != first)
    if stored:
        assert float(stored.group(1)) == pytest.approx(relative_cost(make(), 4), abs=0.005)
