"""ViViT by Table 7 of *Optimizing ViViT Training*: the values of the set, of the model, of the card."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kinelite import recipes
from kinelite.commands.train_ import read_config
from kinelite.config import ClipConfig, NetConfig, OptimConfig, TrainConfig
from kinelite.data.augment import policy
from kinelite.data.sets import list_sets
from kinelite.errors import UsageError
from kinelite.limits import check_config
from kinelite.recipes.cards import CARDS, SIZES, step_gib
from kinelite.recipes.table_7 import COLUMNS

# Copied from the paper by hand: learning rate, epochs, colours, RandAugment, stochastic depth, smoothing, mixup.
PAPER = {
    "kinetics400": (0.1, 30, 0.8, None, 0.0, 0.0, 0.0),
    "kinetics600": (0.1, 30, 0.8, None, 0.0, 0.0, 0.0),
    "moments": (0.25, 10, 0.8, None, 0.0, 0.0, 0.0),
    "epic100": (0.5, 50, None, (2, 15), 0.2, 0.2, 0.1),
    "ssv2": (0.5, 35, None, (2, 20), 0.3, 0.3, 0.3),
    "something_else": (0.5, 35, None, None, 0.0, 0.0, 0.0),
}
ON_CARDS = ("vivit_12gb", "vivit_24gb", "vivit_sfa_12gb", "vivit_sfa_24gb")


@pytest.mark.parametrize("name", ["vivit", "vivit_sfa", *ON_CARDS])
@pytest.mark.parametrize("data", PAPER)
def test_values_of_table_7(data: str, name: str) -> None:
    lr, epochs, colours, randaugment, drop_path, smoothing, mixup = PAPER[data]
    config = read_config([name, "--data", f"{data}:/data/clips", "--model", "vivit_fe_b"])
    optim, augmentation = config.optim, policy(config.clips.policy)
    assert (optim.name, optim.momentum, optim.weight_decay, optim.clip_norm) == ("sgd", 0.9, 0.0, 1.0)
    assert (optim.schedule, optim.warmup_epochs, config.batch) == ("cosine", 2.5, 128)
    assert (optim.lr, config.epochs, config.net.drop_path or 0.0) == (lr, epochs, drop_path)
    assert (optim.label_smoothing, optim.mixup) == (smoothing, mixup)
    assert augmentation.jitter == (0.9, 1.33)
    assert (augmentation.colour_p if augmentation.brightness else None) == colours
    assert ((augmentation.layers, augmentation.magnitude) if augmentation.layers else None) == randaugment
    assert augmentation.hflip == (0.0 if "something" in data or data == "ssv2" else 0.5)
    assert (config.clips.sampling, config.clips.fit) == ("dense", "crop")
    assert config.clips.stride == (2 if data.startswith(("kinetics", "moments")) else 1)
    assert [s.frames for s in config.stages] == ([8, None] if "sfa" in name else [None])
    check_config(config.resolved())


def test_the_sets_of_the_table_are_there() -> None:
    assert set(PAPER) == set(COLUMNS) <= set(list_sets())


def test_flags_change_what_the_table_says() -> None:
    flags = ["--data", "ssv2:/d", "--optim.lr", "0.4", "--clips.stride", "3", "--epochs", "2", "--net.drop-path", "0"]
    config = read_config(["vivit", *flags])
    assert (config.optim.lr, config.optim.mixup, config.clips.stride, config.epochs) == (0.4, 0.3, 3, 2)
    assert config.net.drop_path == 0


def test_groups_from_python_keep_what_the_table_fills_in() -> None:
    clips, net = ClipConfig(sampling="sparse"), NetConfig(temporal_layers=24)
    config = recipes.vivit(data="ssv2:/d", clips=clips, net=net, optim=OptimConfig(lr=0.2))
    assert (config.clips.sampling, config.clips.fit, config.clips.policy) == ("sparse", "crop", "vivit_ssv2_unmirrored")
    assert (config.net.temporal_layers, config.net.drop_path) == (24, 0.3)
    assert config.optim == OptimConfig(lr=0.2)


@pytest.mark.parametrize("data", PAPER)
def test_a_policy_says_whose_values_clips_under_another_name_take(data: str) -> None:
    expected = recipes.vivit(data=f"{data}:/d")
    for name in {expected.clips.policy, expected.clips.policy.removesuffix("_unmirrored")}:
        config = read_config(["vivit", "--data", "store:/prepared", "--clips.policy", name])
        assert (config.optim, config.epochs, config.net) == (expected.optim, expected.epochs, expected.net)
        assert (config.clips.policy, config.clips.stride) == (name, expected.clips.stride)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data", "kinetics40:/d"], r"kinetics400, kinetics600.*'kinetics40:/d'. Nearest: kinetics400\."),
        (["--data", "folder:/d"], r"'folder:/d'\. For clips of these sets under another name.*vivit_epic.*train sfa"),
        (["--data", "folder:/d", "--clips.policy", "none"], "has the values of a paper for"),
        (["--data", "ssv2:/d", "--model", "vivit_fe_bb"], r"vivit_fe_g, and --model is 'vivit_fe_bb'. Nearest: vivit_"),
        (["--data", "ssv2:/d", "--model", "x3d_xs"], "vivit_fe_b, vivit_fe_l, .*kinelite train sfa"),
    ],
)
@pytest.mark.parametrize("name", ["vivit", "vivit_sfa_24gb"])
def test_another_set_or_model_is_refused_with_what_there_is(name: str, flags: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_config([name, *flags])


def micros(config: TrainConfig) -> list[int | None]:
    return [stage.micro_batch for stage in config.stages]


@pytest.mark.parametrize("model", SIZES)
@pytest.mark.parametrize("frames", [8, 32, 64, 128])
@pytest.mark.parametrize("name", ON_CARDS)
def test_a_step_on_a_card_fits_and_no_larger_one_does(name: str, frames: int, model: str) -> None:
    card = CARDS[name.rpartition("_")[2]]
    first = 8 if "sfa" in name else frames
    if step_gib(SIZES[model], first, 1, recompute=True) > card.free_gib:
        with pytest.raises(UsageError, match=f"{model} at {first} frames does not train"):
            recipes.recipe(name)(model=model, frames=frames)
        return
    config = recipes.recipe(name)(model=model, frames=frames)
    assert (config.batch, config.precision) == (128, card.precision)
    for stage in config.stages:
        micro = stage.micro_batch or 0
        given = {"frozen": bool(stage.freeze), "recompute": config.memory.recompute}
        assert micro in (1, 2, 4, 8, 16, 32)
        assert step_gib(SIZES[model], stage.frames or frames, micro, **given) <= card.free_gib
        assert micro == 32 or step_gib(SIZES[model], stage.frames or frames, 2 * micro, **given) > card.free_gib
    assert config.memory.recompute == (step_gib(SIZES[model], config.stages[0].frames or frames, 1) > card.free_gib)
    assert (config.features.mode == "stored") == ("sfa" in name)


def test_no_more_views_are_stored_than_epochs_look_at() -> None:
    assert [recipes.vivit_sfa_12gb(epochs=epochs).features.views for epochs in (0, 1, 3, 30)] == [1, 1, 3, 4]
    assert recipes.vivit_12gb().features.mode == "auto"


def test_giants_are_refused_with_what_would_do() -> None:
    with pytest.raises(UsageError, match=r"12 GB: about 11\.9 GiB .* What does: --frames 32; --model vivit_fe_l; "):
        recipes.vivit_12gb(model="vivit_fe_h", frames=128)
    with pytest.raises(UsageError, match=r"kinelite train vivit_sfa_12gb; kinelite train sfa_long --init RUN"):
        recipes.vivit_12gb(model="vivit_fe_h", frames=128)
    with pytest.raises(UsageError, match=r"vivit_fe_g at 8 frames .* does: --model vivit_fe_h; kinelite train sfa_lo"):
        recipes.vivit_sfa_12gb(model="vivit_fe_g")


def test_what_is_asked_for_decides_how_much_fits() -> None:
    assert micros(recipes.vivit_12gb(batch=4)) == [4]
    assert micros(recipes.vivit_12gb(micro_batch=2)) == [None]
    assert not recipes.vivit_12gb(micro_batch=2).memory.recompute
    assert recipes.vivit_12gb(micro_batch=64).memory.recompute
    assert micros(recipes.vivit_12gb(size=112)) == [32]
    fourteen = NetConfig(encoder="vit_huge_patch14_224.orig_in21k")
    assert step_gib(SIZES["vivit_fe_h"], 8, 8) < CARDS["24gb"].free_gib
    assert micros(recipes.vivit_24gb(model="vivit_fe_h", frames=20, net=fourteen)) == [2]
    assert micros(recipes.vivit_24gb(model="vivit_fe_h", frames=20)) == [4]
    assert read_config(["vivit_12gb", "--micro-batch", "2"]).resolved().stages[0].micro_batch == 2


def test_patches_of_fourteen_are_read_from_the_name_of_an_encoder() -> None:
    config = read_config(["vivit_24gb", "--model=vivit_fe_h", "--net.encoder", "vit_huge_patch14_224.orig_in21k"])
    assert config.net.encoder == "vit_huge_patch14_224.orig_in21k"


@pytest.mark.parametrize(("model", "gib"), [("vivit_fe_b", 3.400), ("vivit_fe_l", 7.183), ("vivit_fe_h", 13.547)])
def test_estimates_agree_with_a_traced_step(model: str, gib: float) -> None:
    """Peaks of the real step, traced once on tensors without data: fp16, SGD, 8 frames, two forward passes a step."""
    clips = 8 if model == "vivit_fe_b" else 4
    assert step_gib(SIZES[model], 8, clips) == pytest.approx(gib, rel=0.04)
    assert step_gib(SIZES[model], 8, clips) >= gib


def test_the_page_has_the_numbers_that_the_recipes_choose() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(vivit_fe_\w)`, (\d\d) GB \|(.*)\|$", page, re.MULTILINE)
    assert len(rows) == 2 * len(SIZES)
    for model, card, cells in rows:
        for frames, cell in zip((8, 16, 32, 64, 128), cells.split("|"), strict=True):
            if cell.strip() == "-":
                with pytest.raises(UsageError):
                    recipes.recipe(f"vivit_{card}gb")(model=model, frames=frames)
                continue
            config = recipes.recipe(f"vivit_{card}gb")(model=model, frames=frames)
            again = " R" if config.memory.recompute else ""
            assert f"{config.stages[0].micro_batch}{again}" == cell.strip(), (model, card, frames)
