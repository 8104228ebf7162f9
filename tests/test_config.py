"""Configs: JSON and back, what differs, what is left to the run, numbers that cannot be meant."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinelite import recipes
from kinelite.config import (
    ClipConfig,
    KeepConfig,
    OptimConfig,
    Stage,
    TrainConfig,
    differences,
    flatten,
    from_json,
    to_json,
)
from kinelite.errors import UsageError
from kinelite.limits import check_config

# Fields, not configs: building one inside a strategy lets the type checks of the test run draw from `random`.
FIELDS = st.fixed_dictionaries(
    {
        "data": st.text(),
        "out": st.text(min_size=1).map(Path),
        "frames": st.integers(1, 128),
        "size": st.none() | st.integers(1, 512),
    }
)


@given(FIELDS, st.sampled_from(["sgd", "adamw"]), st.floats(0, 1))
def test_a_config_survives_json(fields: dict[str, Any], name: Any, lr: float) -> None:
    config = recipes.sfa(**fields, optim=OptimConfig(name=name, lr=lr))
    for each in (config, config.resolved()):
        assert from_json(json.loads(json.dumps(to_json(each)))) == each
        assert not differences(each, each)


def test_a_stage_takes_from_the_run_what_it_leaves_open() -> None:
    config = recipes.sfa(frames=64, epochs=9, batch=8, micro_batch=2, optim=OptimConfig(lr=0.5)).resolved()
    short, long = config.stages
    assert (short.frames, long.frames) == (8, 64)
    assert {s.epochs for s in config.stages} == {9}
    assert {s.lr for s in config.stages} == {0.5}
    assert {(s.batch, s.micro_batch) for s in config.stages} == {(8, 2)}
    own = TrainConfig(stages=(Stage(epochs=0, batch=3, lr=0.1),)).resolved().stages[0]
    assert (own.epochs, own.batch, own.micro_batch, own.lr) == (0, 3, 3, 0.1)
    assert config.resolved() == config


def test_differences_are_named_with_dots() -> None:
    a = recipes.sfa()
    stages = (a.stages[0], dataclasses.replace(a.stages[1], epochs=5))
    b = dataclasses.replace(a, seed=1, optim=OptimConfig(lr=1.0), stages=stages)
    assert differences(a, b) == {"seed": (0, 1), "optim.lr": (1e-3, 1.0), "stages.1.epochs": (None, 5)}
    assert "stages.1.name" in differences(a, recipes.conventional())


@pytest.mark.parametrize(
    ("data", "field"),
    [({"frames": "many"}, "frames"), ({"optim": {"name": "adam"}}, "name"), ({"stages": 3}, "stages")],
)
def test_json_that_is_no_config_is_refused_by_field(data: dict[str, Any], field: str) -> None:
    with pytest.raises(UsageError, match=field):
        from_json(data)


@pytest.mark.parametrize(
    ("flag", "config"),
    [
        ("batch", TrainConfig(batch=0)),
        ("frames", TrainConfig(frames=-8)),
        ("epochs", TrainConfig(epochs=-1)),
        ("seed", TrainConfig(seed=-1)),
        ("size", TrainConfig(size=0)),
        ("workers", TrainConfig(workers=-2)),
        ("micro-batch", TrainConfig(micro_batch=-1)),
        ("max-hours", TrainConfig(max_hours=math.nan)),
        ("lr", TrainConfig(optim=OptimConfig(lr=-1.0))),
        ("optim.ema", TrainConfig(optim=OptimConfig(ema=1.0))),
        ("optim.mixup", TrainConfig(optim=OptimConfig(mixup=-0.1))),
        ("optim.momentum", TrainConfig(optim=OptimConfig(momentum=1.5))),
        ("keep.last", TrainConfig(keep=KeepConfig(last=0))),
        ("clips.stride", TrainConfig(clips=ClipConfig(stride=0))),
        ("--pretrained is empty", TrainConfig(pretrained="")),
        ("--init is empty", TrainConfig(init="")),
        ("at least one stage", TrainConfig(stages=())),
        ("eval-epochs", TrainConfig(keep=KeepConfig(eval_epochs=0, select="best"))),
        ("eval-epochs", TrainConfig(keep=KeepConfig(eval_epochs=0, early_stop=2))),
        ("eval-epochs", TrainConfig(keep=KeepConfig(eval_epochs=0), optim=OptimConfig(schedule="plateau"))),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused_by_flag(flag: str, config: TrainConfig) -> None:
    with pytest.raises(UsageError, match=flag):
        check_config(config.resolved())


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_can_be_meant(name: str) -> None:
    # sfa_long is the one that needs a run to start from.
    check_config(recipes.recipe(name)(init="runs/eight").resolved())


def test_lists_of_plain_values_are_one_value() -> None:
    assert flatten({"a": {"b": [1, 2]}, "c": [{"d": 1}], "e": []}) == {"a.b": [1, 2], "c.0.d": 1, "e": []}
