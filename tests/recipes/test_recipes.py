"""Recipes are whole configs, and say what they cost."""

from __future__ import annotations

import pytest

from kinelite import recipes
from kinelite.commands.train_ import read_config
from kinelite.config import Stage, TrainConfig
from kinelite.errors import UsageError
from kinelite.recipes.basic import part_of


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


def test_lightweight_takes_rate_and_freeze_of_the_model_from_table_6() -> None:
    for model, lr, stages in (
        ("x3d_xs", 2e-4, 2),
        ("timesformer", 1e-4, 1),
        ("tea_r50", 1e-4, 1),
        ("tsm_r50", 1e-4, 2),
    ):
        config = recipes.lightweight(model=model)
        assert (config.optim.lr, len(config.stages)) == (lr, stages)
        assert sum(config.epochs if s.epochs is None else s.epochs for s in config.stages) == 35
        assert (config.frames, config.batch, config.optim.weight_decay) == (16, 32, 1e-5)
        assert (config.optim.schedule, config.optim.plateau_factor, config.optim.plateau_patience) == (
            "plateau",
            0.1,
            2,
        )


def test_the_command_line_asks_the_recipe_for_the_model_that_was_given() -> None:
    for flags in (["--model", "x3d_xs"], ["--model=x3d_xs"]):
        config = read_config(["lightweight", "--data", "motion", *flags])
        assert (config.model, config.optim.lr) == ("x3d_xs", 2e-4)
    assert read_config(["lightweight", "--model", "timesformer", "--optim.lr", "3e-4"]).optim.lr == 3e-4


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'sffa'\. Nearest: sfa.*kinelite list recipes"):
        recipes.recipe("sffa")


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="epoch"):
        recipes.sfa(epoch=3)


@pytest.mark.parametrize(
    ("model", "lr", "stages"),
    [
        ("movinet_a0_stream", 2e-4, 2),
        ("movinet_a1", 2e-4, 2),
        ("x3d_m", 2e-4, 2),
        ("tsm_mobilenet_v2", 1e-4, 2),
        ("nl_r50_c2d", 1e-4, 2),
        ("vivit_fe:deit_tiny_patch16_224", 1e-4, 2),
        ("mvit_s", 1e-4, 2),
    ],
)
def test_lightweight_trains_a_variant_as_its_family(model: str, lr: float, stages: int) -> None:
    config = recipes.lightweight(model=model)
    assert (config.optim.lr, len(config.stages)) == (lr, stages)


def test_all_rows_of_a_family_are_equal() -> None:
    for name, values in recipes.TABLE_6.items():
        assert recipes.table_6(f"{name.partition('_')[0]}_other") == values


def test_the_command_line_gives_a_recipe_what_its_stages_follow() -> None:
    config = read_config(["curriculum_a", "--frames", "32", "--epochs=9"])
    assert [(s.frames, s.epochs) for s in config.stages] == [(8, 3), (16, 3), (None, 3)]
    assert (config.frames, config.epochs) == (32, 9)
    assert read_config(["sfa_short", "--epochs", "9", "--stages.0.epochs", "1"]).stages[0].epochs == 1


def test_a_number_that_is_none_is_left_to_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_config(["curriculum_a", "--frames", "many"])
    assert "--frames" in capsys.readouterr().err


def test_words_of_a_flag_are_joined_by_either_sign() -> None:
    assert read_config(["sfa", "--micro_batch", "4"]).micro_batch == 4
    assert read_config(["lightweight", "--model=x3d_xs", "--clips.policy", "none"]).clips.policy == "none"


def test_the_kin_of_sfa() -> None:
    assert recipes.sfa_short(epochs=9).stages == (
        Stage("short", frames=8, epochs=3),
        Stage("long", freeze=("encoder.*",), adapter=True),
    )
    assert recipes.sfa_long().stages == (Stage("long", freeze=("encoder.*",), adapter=True),)
    assert recipes.sfa_unfrozen().stages == (Stage("short", frames=8), Stage("long"))
    assert recipes.frozen_temporal().stages[0].freeze == ("temporal.*",)


@pytest.mark.parametrize(
    ("epochs", "share", "of", "part"), [(30, 1, 3, 10), (3, 1, 3, 1), (1, 1, 3, 1), (0, 1, 3, 0), (9, 20, 30, 6)]
)
def test_a_share_of_the_epochs_is_whole_and_never_none(epochs: int, share: int, of: int, part: int) -> None:
    assert part_of(epochs, share, of) == part


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_docstrings_say_what_is_published(name: str) -> None:
    assert recipes.told(recipes.recipe(name), "Published")
    assert recipes.told(recipes.recipe(name), "Nothing") == ""


def test_the_list_shows_cost_and_published_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    from kinelite.commands.list_ import main

    rows = main(["recipes", "sfa*"])["recipes"]
    assert set(rows) == {name for name in recipes.RECIPES if name.startswith("sfa")}
    assert rows["sfa"]["cost"].startswith("0.58")
    out = capsys.readouterr().out
    assert "cost: 0.58" in out
    assert "published: 63.9 %" in out
