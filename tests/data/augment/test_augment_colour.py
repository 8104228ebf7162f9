"""Every colour operation at fixed parameters against torchvision's, and TensorFlow's against their formulas.

All pictures here are noise over the whole colour cube, the worst case: in real frames, whose colours are muted, the
differences are smaller.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from kinelite.data.augment import Draw, apply, policy
from kinelite.data.augment.colour import adjust
from kinelite.data.augment.draws import draw_colour

Steps = tuple[tuple[str, float], ...]


def noise(frames: int = 3, size: int = 48) -> np.ndarray:
    """[t, h, w, 3], each frame in a range of its own, so that statistics differ from frame to frame."""
    pixels = np.random.default_rng(0).integers(0, 256, (frames, size, size, 3))
    spans = np.linspace(0.5, 1.0, frames)[:, None, None, None]
    return (pixels * spans + 255 * (1 - spans) * 0.3).astype(np.uint8)


def adjusted(frames: np.ndarray, *steps: tuple[str, object], scope: str = "frame") -> np.ndarray:
    result = frames.copy()
    adjust(result, steps, scope)
    return result


def tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


def levels(ours: np.ndarray, theirs: torch.Tensor | np.ndarray) -> np.ndarray:
    """Differences in levels; tensors are [t, 3, h, w]."""
    other = theirs.numpy().transpose(0, 2, 3, 1) if isinstance(theirs, torch.Tensor) else theirs
    return ours.astype(int) - other.astype(int)


@pytest.mark.parametrize("factor", [0.1, 0.65, 0.9, 1.0, 1.2, 1.35, 2.8])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_factors_agree_with_torchvision_to_a_level(name: str, factor: float) -> None:
    """Within one level, which is rounding: coefficients have ten bits, and gray is rounded down there."""
    frames = noise()
    difference = levels(adjusted(frames, (name, factor)), getattr(tv, f"adjust_{name}")(tensor(frames), factor))
    assert np.abs(difference).max() <= 1
    assert abs(difference.mean()) < 0.3


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "contrast_rgb", "sharpness"])
def test_a_factor_of_one_changes_nothing(name: str) -> None:
    assert np.array_equal(adjusted(noise(), (name, 1.0)), noise())


@pytest.mark.parametrize("factor", [-0.2, -0.1, -0.03, 0.0, 0.06, 0.1, 0.2])
def test_hue_agrees_with_torchvision(factor: float) -> None:
    """The circle has 256 steps and saturation 256 levels here: 6 levels of a vivid colour lie between two steps.

    Measured on frames of UT-Interaction and Kinetics: 0.1 levels on average, 99 in 100 pixels within 2.
    """
    frames = noise()
    difference = np.abs(levels(adjusted(frames, ("hue", factor)), tv.adjust_hue(tensor(frames), factor)))
    assert difference.mean() < 0.9
    assert np.percentile(difference, 99) <= 6


@pytest.mark.parametrize("factor", [0.1, 0.73, 1.27, 2.8])
def test_sharpness_agrees_with_torchvision(factor: float) -> None:
    """The blurred picture is not rounded in between: half a level times the factor's distance from 1."""
    frames = noise()
    difference = levels(adjusted(frames, ("sharpness", factor)), tv.adjust_sharpness(tensor(frames), factor))
    assert np.abs(difference).max() <= 1 + abs(factor - 1) / 2
    assert abs(difference.mean()) < 0.3


@pytest.mark.parametrize(
    ("name", "value", "theirs"),
    [
        *((f"posterize {bits}", float(bits), lambda x, bits=bits: tv.posterize(x, bits)) for bits in (0, 1, 4, 7, 8)),
        *((f"solarize {at}", at, lambda x, at=at: tv.solarize(x, at)) for at in (0.0, 100.0, 178.5, 255.0)),
        ("autocontrast", 0.0, tv.autocontrast),
        ("equalize", 0.0, tv.equalize),
        ("invert", 0.0, tv.invert),
    ],
)
def test_tables_agree_with_torchvision_exactly(name: str, value: float, theirs: object) -> None:
    frames = noise()
    assert not levels(adjusted(frames, (name.split()[0], value)), theirs(tensor(frames))).any()


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_a_picture_of_one_level_stays(name: str) -> None:
    frames = np.full((2, 9, 9, 3), 70, dtype=np.uint8)
    frames[..., 1] = np.arange(9)
    theirs = getattr(tv, name)(tensor(frames))
    assert not levels(adjusted(frames, (name, 0.0)), theirs).any()


@pytest.mark.parametrize("name", ["contrast", "autocontrast", "equalize"])
def test_statistics_are_of_the_frame_or_of_the_clip(name: str) -> None:
    """Over the clip they are those of one tall picture, which is what ViViT's code makes of it."""
    frames = noise()
    value = 0.6 if name == "contrast" else 0.0
    one_by_one = np.concatenate([adjusted(frame[None], (name, value)) for frame in frames])
    tall = adjusted(frames.reshape(1, -1, *frames.shape[2:]), (name, value)).reshape(frames.shape)
    assert np.array_equal(adjusted(frames, (name, value)), one_by_one)
    assert np.array_equal(adjusted(frames, (name, value), scope="clip"), tall)
    assert not np.array_equal(one_by_one, tall)


def stepwise(frames: np.ndarray, steps: Steps) -> torch.Tensor:
    result = tensor(frames)
    for name, factor in steps:
        result = getattr(tv, f"adjust_{name}")(result, factor)
    return result


@pytest.mark.parametrize("seed", range(12))
def test_merged_steps_agree_with_torchvisions_one_after_the_other(seed: int) -> None:
    """Rounding alone: one after the other rounds down each time. Clipping in between is kept: it would be 60 levels."""
    frames, rng = noise(), np.random.default_rng(seed)
    steps = tuple(step for step in draw_colour(policy("lightweight_kinetics"), rng) if step[0] != "hue")
    assert len(steps) == 3
    difference = levels(adjusted(frames, *steps), stepwise(frames, steps))
    assert np.abs(difference).max() <= 3
    assert np.abs(difference).mean() < 0.7
    assert abs(difference.mean()) < 0.5


@pytest.mark.parametrize("order", [("brightness", "contrast"), ("contrast", "brightness")])
def test_clipping_in_between_and_the_order_are_kept(order: tuple[str, str]) -> None:
    frames, factors = noise(), {"brightness": 2.0, "contrast": 0.5}
    steps = tuple((name, factors[name]) for name in order)
    ours = adjusted(frames, *steps)
    assert np.abs(levels(ours, stepwise(frames, steps))).max() <= 2
    assert np.abs(levels(ours, adjusted(frames, *reversed(steps)))).mean() > 5


def test_gray_pixels_have_no_hue_and_no_saturation_to_change() -> None:
    frames = np.full((1, 8, 8, 3), 90, dtype=np.uint8)
    for name, factor in (("hue", 0.1), ("saturation", 1.2), ("saturation_hsv", 1.3), ("gray", 0.0)):
        assert np.array_equal(adjusted(frames, (name, factor)), frames)


def test_gray_is_that_of_torchvision() -> None:
    frames = noise()
    difference = levels(adjusted(frames, ("gray", 0.0)), tv.rgb_to_grayscale(tensor(frames), num_output_channels=3))
    assert np.abs(difference).max() <= 1


def test_a_cutout_is_black_and_later_steps_change_it() -> None:
    frames = noise()
    frames[frames == 0] = 1
    cut = adjusted(frames, ("cutout", (5, 7, 12, 20)))
    expected = frames.copy()
    expected[:, 5:17, 7:27] = 0
    assert np.array_equal(cut, expected)
    assert np.array_equal(adjusted(frames, ("cutout", (5, 7, 12, 20)), ("invert", 0.0)), 255 - expected)


def test_solarize_add_lightens_what_is_dark() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    result = adjusted(ramp, ("solarize_add", 110.0)).astype(int)
    expected = np.where(ramp < 128, np.minimum(255, ramp.astype(int) + 110), ramp)
    assert np.array_equal(result, expected)


TENSORFLOW = {"add": (0.1, -0.12), "contrast_rgb": (0.6, 1.4), "saturation_hsv": (0.6, 1.4)}


def tensorflow(name: str, frames: np.ndarray, value: float) -> np.ndarray:
    """tf.image.adjust_* as documented, in floating point over [0, 1], back in levels."""
    x = frames / 255.0
    if name == "add":
        x = x + value
    elif name == "contrast_rgb":
        mean = x.mean(axis=(1, 2), keepdims=True)
        x = (x - mean) * value + mean
    else:
        # HSV saturation is 1 - min / max: scaling it moves each channel away from the largest one.
        top, low = x.max(-1, keepdims=True), x.min(-1, keepdims=True)
        saturation = np.where(top > 0, (top - low) / np.maximum(top, 1e-9), 0)
        ratio = np.minimum(1.0, saturation * value) / np.maximum(saturation, 1e-9)
        x = top - (top - x) * ratio
    return np.clip(x, 0, 1) * 255


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, pair in TENSORFLOW.items() for value in pair],
)
def test_tensorflows_operations_follow_their_formulas(name: str, value: float) -> None:
    """To a level where the map is affine; HSV has whole levels, hence up to 6 in a hundredth of pixels."""
    frames = noise()
    difference = np.abs(adjusted(frames, (name, value)) - tensorflow(name, frames, value))
    assert difference.mean() < 0.8
    assert np.percentile(difference, 99) <= (6 if name == "saturation_hsv" else 1)


def test_apply_changes_the_colours_before_it_blackens_the_box() -> None:
    frames = noise(2, 32).transpose(0, 3, 1, 2)
    drawn = Draw((32, 32), 32, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (("invert", 0.0),), (4, 4, 8, 8))
    result = apply(frames, drawn, 32)
    expected = 255 - frames
    expected[:, :, 4:12, 4:12] = 0
    assert np.array_equal(result, expected)
