"""Curricula of appendix D: models A to E, at the paper's frames and epochs and at others."""

from __future__ import annotations

import pytest

from kinelite import recipes
from kinelite.config import TrainConfig
from kinelite.recipes.curricula import middle_frames

PAPER = {
    "curriculum_a": [(8, 10, False), (32, 10, True), (128, 10, True)],
    "curriculum_b": [(8, 10, False), (128, 20, True)],
    "curriculum_c": [(8, 10, False), (128, 30, True)],
    "curriculum_d": [(8, 30, False), (128, 30, True)],
    "curriculum_e": [(128, 30, False)],
}


def plan(config: TrainConfig) -> list[tuple[int | None, int | None, bool]]:
    stages = config.resolved().stages
    assert all((stage.freeze == recipes.FROZEN) == stage.adapter for stage in stages)
    return [(stage.frames, stage.epochs, stage.adapter) for stage in stages]


@pytest.mark.parametrize("name", PAPER)
def test_models_a_to_e_are_those_of_the_paper(name: str) -> None:
    assert plan(recipes.recipe(name)()) == PAPER[name]


def test_frames_and_epochs_follow_what_is_asked_for() -> None:
    assert plan(recipes.curriculum_a(frames=32, epochs=9)) == [(8, 3, False), (16, 3, True), (32, 3, True)]
    assert plan(recipes.curriculum_a(frames=16, epochs=1)) == [(8, 1, False), (12, 1, True), (16, 1, True)]
    assert plan(recipes.curriculum_b(frames=4, epochs=30)) == [(4, 10, False), (4, 20, True)]
    assert plan(recipes.curriculum_c(epochs=0)) == [(8, 0, False), (128, 0, True)]


@pytest.mark.parametrize(("frames", "middle"), [(128, 32), (64, 24), (32, 16), (16, 12), (8, 8), (4, 4), (2, 2)])
def test_the_middle_lies_between(frames: int, middle: int) -> None:
    assert middle_frames(frames) == middle
