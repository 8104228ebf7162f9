"""What is drawn: the policies' values, and distributions against torchvision's own, by two-sample tests at fixed seeds.

A test of 2,000 against 2,000 draws sees a shift of a tenth of a standard deviation. Seeds are fixed, so the outcome is
too; a p-value above 0.01 passes.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, ks_2samp
from torchvision.transforms import v2

from kinelite.data.augment import POLICIES, Policy, draw, policy
from kinelite.data.augment.draws import draw_box, draw_colour
from kinelite.data.augment.geometry import draw_affine, placement

DRAWS = 2000
PICTURE = [torch.zeros(3, 224, 224, dtype=torch.uint8)]


def same(ours: list[float], theirs: list[float]) -> None:
    """Both samples are of one distribution, as far as so many draws can tell."""
    assert ks_2samp(ours, theirs, method="asymp").pvalue > 0.01


def theirs(transform: v2.Transform) -> list[dict[str, object]]:
    torch.manual_seed(0)
    return [transform.make_params(PICTURE) for _ in range(DRAWS)]


def test_policies_are_those_of_the_lightweight_paper() -> None:
    kinetics, ssv2, epic = (policy(f"lightweight_{name}") for name in ("kinetics", "ssv2", "epic"))
    assert (kinetics.hflip, kinetics.vflip, kinetics.degrees) == (0.5, 0, 10)
    assert (ssv2.hflip, ssv2.vflip, ssv2.degrees) == (0, 0, 15)
    assert (epic.hflip, epic.vflip, epic.degrees) == (0.5, 0.5, 15)
    for each in (kinetics, ssv2, epic):
        assert (each.translate, each.scale, each.shear) == (0.15, (0.85, 1.15), 15)
        assert (each.brightness, each.contrast, each.saturation, each.hue) == (0.35, 0.35, 0.2, 0.1)
        assert (each.erase_p, each.erase_scale, each.erase_ratio) == (0.7, (0.05, 0.1), (0.3, 3.3))
        assert (each.resize, each.jitter, each.layers, each.colours) == (1, (1, 1), 0, "torchvision")


def test_policies_are_those_of_table_7() -> None:
    names = ("kinetics400", "kinetics600", "moments", "epic", "ssv2", "something_else")
    columns = [policy(f"vivit_{name}") for name in names]
    for each in columns:
        assert (each.hflip, each.jitter, each.resize) == (0.5, (0.9, 1.33), 256 / 224)
        assert (each.vflip, each.degrees, each.translate, each.shear, each.erase_p) == (0, 0, 0, 0, 0)
    assert [each.colour_p if each.hue else None for each in columns] == [0.8, 0.8, 0.8, None, None, None]
    assert [(each.layers, each.magnitude) for each in columns] == [(0, 0)] * 3 + [(2, 15), (2, 20), (0, 0)]
    colour = columns[0]
    assert (colour.brightness, colour.contrast, colour.saturation, colour.hue) == (32 / 255, 0.4, 0.4, 0.2)


def test_a_policy_as_text_is_what_differs() -> None:
    assert str(Policy()) == "resize only"
    assert str(policy("vivit_something_else")) == f"hflip=0.5, resize={256 / 224}, jitter=(0.9, 1.33)"


def test_affine_parameters_are_distributed_as_in_torchvision() -> None:
    drawn = theirs(v2.RandomAffine(10, (0.15, 0.15), (0.85, 1.15), 15))
    rng = np.random.default_rng(0)
    ours = [draw_affine(policy("lightweight_kinetics"), 224, rng) for _ in range(DRAWS)]
    same([math.degrees(a.angle) for a in ours], [p["angle"] for p in drawn])
    same([math.degrees(a.shear) for a in ours], [p["shear"][0] for p in drawn])
    same([a.scale for a in ours], [p["scale"] for p in drawn])
    for axis in range(2):
        same([a.shift[axis] for a in ours], [p["translate"][axis] for p in drawn])
    assert all(p["shear"][1] == 0 for p in drawn), "shear is along x alone there too"


def test_colour_factors_and_their_order_are_distributed_as_in_torchvision() -> None:
    drawn = theirs(v2.ColorJitter(0.35, 0.35, 0.2, 0.1))
    rng = np.random.default_rng(0)
    ours = [draw_colour(policy("lightweight_kinetics"), rng) for _ in range(DRAWS)]
    names = ("brightness", "contrast", "saturation", "hue")
    for name in names:
        same([dict(steps)[name] for steps in ours], [p[f"{name}_factor"] for p in drawn])
    orders = Counter(tuple(name for name, _ in steps) for steps in ours)
    expected = Counter(tuple(names[i] for i in p["fn_idx"].tolist()) for p in drawn)
    assert set(orders) == set(expected)
    assert len(orders) == 24
    assert chisquare(list(orders.values())).pvalue > 0.01


def test_boxes_are_distributed_as_in_torchvision() -> None:
    drawn = theirs(v2.RandomErasing(1.0, (0.05, 0.1)))
    rng = np.random.default_rng(0)
    always = Policy(erase_p=1.0)
    ours = [box for box in (draw_box(always, 224, rng) for _ in range(DRAWS)) if box is not None]
    assert len(ours) == DRAWS
    for index, name in enumerate("ijhw"):
        same([box[index] for box in ours], [p[name] for p in drawn])


def test_a_box_that_does_not_fit_is_none_there_and_here() -> None:
    never = Policy(erase_p=1.0, erase_scale=(0.9, 1.0), erase_ratio=(4.0, 5.0))
    assert draw_box(never, 64, np.random.default_rng(0)) is None
    params = v2.RandomErasing(1.0, (0.9, 1.0), (4.0, 5.0)).make_params([torch.zeros(3, 64, 64)])
    assert (params["h"], params["w"]) == (64, 64), "torchvision then gives the whole picture back as it was"


@pytest.mark.parametrize(("name", "hflip", "vflip"), [("lightweight_epic", 0.5, 0.5), ("lightweight_ssv2", 0.0, 0.0)])
def test_flips_are_as_often_as_the_policy_says(name: str, hflip: float, vflip: float) -> None:
    rng = np.random.default_rng(0)
    flips = Policy(hflip=policy(name).hflip, vflip=policy(name).vflip)
    matrices = [draw(flips, 64, 64, 64, rng).matrix for _ in range(DRAWS)]
    for place, chance in ((0, hflip), (4, vflip)):
        assert abs(np.mean([matrix[place] < 0 for matrix in matrices]) - chance) < 0.03


@pytest.mark.parametrize("fit", ["crop", "squash"])
@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (200, 200)])
def test_scale_jitter_is_vivits(fit: str, height: int, width: int) -> None:
    """The short side (under squash: each side) to 256, times a factor per axis, a square of 224 anywhere in that."""
    rng, chosen = np.random.default_rng(0), policy("vivit_something_else")
    scales, places = [], []
    for _ in range(600):
        matrix = placement(chosen, height, width, 224, [False, False], fit, rng)
        sides, spans, starts = np.array([width, height]), matrix.diagonal()[:2] * 224, matrix[:2, 2]
        resized = 256 * (sides / sides.min() if fit == "crop" else np.ones(2))
        scales.append(224 / spans * sides / resized)
        places.append(starts / (sides - spans))
        assert (starts >= 0).all()
        assert (starts + spans <= sides + 1e-9).all()
    for axis in range(2):
        same([s[axis] for s in scales], list(np.random.default_rng(1).uniform(0.9, 1.33, DRAWS)))
        same([p[axis] for p in places], list(np.random.default_rng(2).uniform(0, 1, DRAWS)))
    for pairs in (scales, places):
        assert abs(np.corrcoef(np.array(pairs).T)[0, 1]) < 0.15, "one number per axis"


def test_vivits_colours_come_in_its_order_and_for_four_clips_in_five() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_colour(policy("vivit_kinetics400"), rng) for _ in range(DRAWS)]
    changed = [steps for steps in drawn if steps]
    assert abs(len(changed) / DRAWS - 0.8) < 0.03
    assert {tuple(name for name, _ in steps) for steps in changed} == {("add", "saturation_hsv", "contrast_rgb", "hue")}
    for index, (low, high) in enumerate([(-32 / 255, 32 / 255), (0.6, 1.4), (0.6, 1.4), (-0.2, 0.2)]):
        values = [steps[index][1] for steps in changed]
        same(values, list(np.random.default_rng(9).uniform(low, high, DRAWS)))


def test_gray_is_last_and_as_often_as_asked_for() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_colour(Policy(gray_p=0.1, hue=0.1), rng) for _ in range(DRAWS)]
    gray = [steps for steps in drawn if steps[-1][0] == "gray"]
    assert abs(len(gray) / DRAWS - 0.1) < 0.02
    assert all(steps[0][0] == "hue" for steps in drawn)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_equal_generators_give_equal_draws(name: str) -> None:
    one, same_again, other = (draw(policy(name), 120, 160, 96, np.random.default_rng([3, seed])) for seed in (1, 1, 2))
    assert one == same_again
    assert (one == other) == (name in ("none", "flip"))
