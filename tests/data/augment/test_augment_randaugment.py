"""RandAugment: operations, strengths and their frequency against torchvision's, ViViT's set, and the one matrix."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from kinelite.data.augment import Draw, Policy, apply, draw, policy
from kinelite.data.augment.randaugment import OPS, draw_ops, move

NAMES = {
    "Identity": "identity",
    "ShearX": "shear_x",
    "ShearY": "shear_y",
    "TranslateX": "translate_x",
    "TranslateY": "translate_y",
    "Rotate": "rotate",
    "Brightness": "brightness",
    "Color": "saturation",
    "Contrast": "contrast",
    "Sharpness": "sharpness",
    "Posterize": "posterize",
    "Solarize": "solarize",
    "AutoContrast": "autocontrast",
    "Equalize": "equalize",
}
ENHANCE = ("brightness", "saturation", "contrast", "sharpness")
BLACK_OUTSIDE = {"interpolation": InterpolationMode.BILINEAR, "fill": 0}


class Recorder(v2.RandAugment):
    """Torchvision's transform that writes down what it would do, and does nothing."""

    def _apply_image_or_video_transform(self, image, transform_id, magnitude, interpolation, fill):
        self.__dict__.setdefault("log", []).append((NAMES[transform_id], magnitude))
        return image


def recorded(magnitude: int, calls: int) -> list[tuple[str, float]]:
    torch.manual_seed(0)
    transform = Recorder(2, magnitude)
    picture = torch.zeros(3, 224, 224, dtype=torch.uint8)
    for _ in range(calls):
        transform(picture)
    return transform.log


def in_our_terms(name: str, magnitude: float) -> float:
    """What torchvision makes of its magnitude when it applies the operation."""
    if name in ENHANCE:
        return 1 + magnitude
    if name.startswith("translate"):
        return float(int(magnitude))
    return 255 * magnitude if name == "solarize" else magnitude


@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_operations_and_strengths_are_torchvisions(magnitude: int) -> None:
    theirs = {(n, round(in_our_terms(n, m), 3) + 0.0) for n, m in recorded(magnitude, 1000) if n != "identity"}
    rng = np.random.default_rng(0)
    chosen = Policy(layers=2, magnitude=magnitude)
    ours = {(n, round(v, 3) + 0.0) for _ in range(1000) for n, v in draw_ops(chosen, 224, rng)}
    assert ours == theirs
    assert {name for name, _ in ours} | {"identity"} == set(OPS["torchvision"])


def test_operations_and_signs_are_as_frequent_as_in_torchvision() -> None:
    theirs = Counter(name for name, _ in recorded(9, 1000))
    rng, chosen = np.random.default_rng(0), policy("randaugment")
    drawn = [op for _ in range(1000) for op in draw_ops(chosen, 224, rng)]
    ours = Counter(name for name, _ in drawn)
    ours["identity"] = 2000 - len(drawn)
    for counts in (ours, theirs):
        assert chisquare([counts[name] for name in OPS["torchvision"]]).pvalue > 0.01
    signed = [value > 1 for name, value in drawn if name in ENHANCE]
    assert 0.44 < np.mean(signed) < 0.56


@pytest.mark.parametrize(
    ("magnitude", "expected"),
    [
        (15, {"posterize": 6, "solarize": 384, "solarize_add": 165} | dict.fromkeys(ENHANCE, 2.8)),
        (20, {"posterize": 8, "solarize": 512, "solarize_add": 220} | dict.fromkeys(ENHANCE, 3.7)),
    ],
)
def test_vivits_operations_and_strengths(magnitude: int, expected: dict[str, float]) -> None:
    """Its code: enhance 1.8 m / 10 + 0.1; posterize to 4 m / 10 bits, solarize at 256 m / 10, adding 110 m / 10."""
    rng = np.random.default_rng(0)
    drawn = [op for _ in range(2000) for op in draw_ops(Policy(layers=1, magnitude=magnitude, ops="vivit"), 224, rng)]
    values = {name: value for name, value in drawn if name != "cutout"}
    for name in ("autocontrast", "equalize", "invert"):
        assert values.pop(name) == 0
    assert values == pytest.approx(expected)
    counts = Counter(name for name, _ in drawn)
    assert chisquare([2000 - len(drawn), *counts.values()]).pvalue > 0.01
    assert len(counts) == 11


def test_vivits_cutout_is_a_square_about_any_pixel_cut_off_at_the_border() -> None:
    rng = np.random.default_rng(0)
    boxes = [OPS["vivit"]["cutout"](15, 224, rng) for _ in range(1000)]
    assert all(min(t, x) >= 0 and max(t + h, x + w) <= 224 for t, x, h, w in boxes)
    assert max(h for _, _, h, _ in boxes) == max(w for _, _, _, w in boxes) == 120
    assert min(h for _, _, h, _ in boxes) >= 60
    inner = [box for box in boxes if box[2:] == (120, 120)]
    assert abs(len(inner) / 1000 - (105 / 224) ** 2) < 0.05


@pytest.mark.parametrize(
    ("name", "value", "theirs"),
    [
        ("rotate", 17.0, lambda x: tv.rotate(x, 17.0, **BLACK_OUTSIDE)),
        ("shear_x", -0.2, lambda x: tv.affine(x, 0, [0, 0], 1, [math.degrees(math.atan(-0.2)), 0], **CORNER)),
        ("shear_y", 0.15, lambda x: tv.affine(x, 0, [0, 0], 1, [0, math.degrees(math.atan(0.15))], **CORNER)),
        ("translate_x", 11.0, lambda x: tv.affine(x, 0, [11, 0], 1, [0, 0], **BLACK_OUTSIDE)),
        ("translate_y", -9.0, lambda x: tv.affine(x, 0, [0, -9], 1, [0, 0], **BLACK_OUTSIDE)),
    ],
)
def test_operations_that_move_pixels_agree_with_torchvision(name: str, value: float, theirs: object) -> None:
    """Bilinear both; but for the edge, which torchvision blends with black in its own way."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    matrix = move(name, value, 64)
    assert matrix is not None
    drawn = Draw((64, 64), 64, tuple(float(v) for v in matrix[:2].ravel()))
    expected = theirs(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()
    difference = np.abs(apply(pixels, drawn, 64).astype(int) - expected)
    assert np.percentile(difference, 95) <= 1
    assert difference.mean() < 1.5


CORNER = {**BLACK_OUTSIDE, "center": [0, 0]}


def test_two_moves_compose_in_the_order_drawn() -> None:
    """Where torchvision still has the picture: what its first step moved out, its second cannot bring back."""
    y, x = np.mgrid[:64, :64]
    smooth = np.stack([127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 7), (x + y) * 2], axis=0)
    pixels = smooth.astype(np.uint8)[None]
    matrix = move("rotate", 15.0, 64) @ move("translate_x", 12.0, 64)
    drawn = Draw((64, 64), 64, tuple(float(v) for v in matrix[:2].ravel()))
    first = tv.rotate(torch.from_numpy(pixels), 15.0, **BLACK_OUTSIDE)
    expected = tv.affine(first, 0, [12, 0], 1, [0, 0], **BLACK_OUTSIDE).numpy()
    kept = expected.min(axis=(0, 1)) > 8
    assert kept.mean() > 0.6
    assert np.abs(apply(pixels, drawn, 64).astype(int) - expected)[..., kept].mean() < 1
    other = tv.rotate(tv.affine(torch.from_numpy(pixels), 0, [12, 0], 1, [0, 0]), 15.0, **BLACK_OUTSIDE).numpy()
    assert np.abs(expected.astype(int) - other)[..., kept].mean() > 5


def test_moves_join_the_matrix_after_the_resize_and_colours_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    ops = [("solarize", 90.0), ("rotate", 20.0), ("invert", 0.0), ("translate_x", 9.0)]
    monkeypatch.setattr("kinelite.data.augment.draws.draw_ops", lambda policy, size, rng: ops)
    drawn = draw(Policy(layers=4), 64, 80, 64, np.random.default_rng(0))
    expected = np.diag([80 / 64, 1.0, 1.0]) @ move("rotate", 20.0, 64) @ move("translate_x", 9.0, 64)
    assert np.array(drawn.matrix) == pytest.approx(expected[:2].ravel())
    assert drawn.colour == (("solarize", 90.0), ("invert", 0.0))


@pytest.mark.parametrize("name", ["randaugment", "vivit_epic", "vivit_ssv2"])
def test_one_draw_serves_all_frames(name: str) -> None:
    """Equal frames stay equal whatever is drawn, and the input is left alone."""
    frame = np.random.default_rng(0).integers(0, 256, (48, 60, 3), dtype=np.uint8)
    frames = np.stack([frame] * 3).transpose(0, 3, 1, 2)
    before, seen = frames.copy(), set()
    for seed in range(60):
        drawn = draw(policy(name), 48, 60, 32, np.random.default_rng(seed), "crop")
        result = apply(frames, drawn, 32)
        assert (result == result[:1]).all()
        seen |= {step for step, _ in drawn.colour}
    assert np.array_equal(frames, before)
    moves = {"identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"}
    assert seen == set(OPS[policy(name).ops]) - moves


def test_vivits_statistics_are_of_the_clip_and_torchvisions_of_the_frame() -> None:
    rng = np.random.default_rng(0)
    assert draw(policy("vivit_ssv2"), 48, 60, 32, rng).scope == "clip"
    assert draw(policy("randaugment"), 48, 60, 32, rng).scope == "frame"
    assert draw(policy("lightweight_ssv2"), 48, 60, 32, rng).scope == "frame"
