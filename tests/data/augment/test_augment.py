"""The fused augmentation against torchvision's, operation by operation."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from kinelite.data.augment import POLICIES, Draw, Policy, apply, draw, policy, resize
from kinelite.data.augment.geometry import Affine, affine_inverse
from kinelite.errors import UsageError

BLACK_OUTSIDE = {"interpolation": InterpolationMode.BILINEAR, "fill": 0}


LIGHTWEIGHT = sorted(name for name in POLICIES if name.startswith("lightweight"))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """One colourful [h, w, 3] picture without grain that a reduction to 64 pixels would lose, over all levels."""
    blur = max(3.0, 3 * max(height, width) / 64)
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), blur)
    return np.clip(127 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def clip(height: int, width: int, frames: int = 2) -> np.ndarray:
    """A [t, c, h, w] view of [t, h, w, c] memory, as the decoder gives it."""
    return np.stack([picture(height, width, seed) for seed in range(frames)]).transpose(0, 3, 1, 2)


def still(height: int, width: int, size: int, **changes: object) -> Draw:
    """The draw that only resizes, with changes."""
    return replace(draw(Policy(), height, width, size, np.random.default_rng(0)), **changes)


def shown(ours: np.ndarray, theirs: torch.Tensor, margin: int = 0) -> float:
    """Mean absolute difference in levels, without a margin of pixels."""
    inside = slice(margin, ours.shape[-1] - margin)
    return float(np.abs(ours[..., inside, inside].astype(int) - theirs.numpy()[..., inside, inside].astype(int)).mean())


def tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames))


def test_an_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"lightweight_kinetic'.*lightweight_kinetics.*kinelite list policies"):
        policy("lightweight_kinetic")


@pytest.mark.parametrize(("height", "width", "size"), [(80, 120, 64), (48, 40, 64), (300, 400, 64), (40, 200, 64)])
def test_resize_without_more(height: int, width: int, size: int) -> None:
    frames = clip(height, width)
    # Ours samples bilinearly after a whole-number reduction, theirs weighs all pixels under a triangle.
    theirs = tv.resize(tensor(frames), [size, size], antialias=True)
    assert shown(apply(frames, still(height, width, size), size), theirs) < 1.0
    assert shown(resize(frames, size, "squash"), theirs) < 1.0


def test_a_much_larger_frame_is_averaged_not_skipped() -> None:
    """A checkerboard of single pixels shrinks to gray; taking every so-manieth pixel would give black and white."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    frames = np.broadcast_to(board, (1, 3, 256, 256))
    assert np.abs(apply(frames, still(256, 256, 64), 64).astype(int) - 127).max() <= 1


@pytest.mark.parametrize("name", ["vivit_something_else", "lightweight_epic", "none"])
def test_the_resample_is_bilinear_at_the_places_of_the_matrix(name: str) -> None:
    """Against PyTorch's grid_sample in floating point, on noise: rounding, and 1/32 pixel in OpenCV before 5."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    for seed in range(5):
        geometry = replace(policy(name), erase_p=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
        drawn = draw(geometry, 60, 80, 64, np.random.default_rng(seed), "crop" if "vivit" in name else "squash")
        assert not drawn.colour
        y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        points = torch.stack([x, y, torch.ones(64, 64)], -1).double() @ torch.tensor(drawn.matrix).double().view(2, 3).T
        grid = (points / torch.tensor([80, 60]) * 2 - 1).expand(2, -1, -1, -1)
        inside = ((points >= 0.5) & (points <= torch.tensor([79.5, 59.5]))).all(-1).numpy()
        exact = torch.nn.functional.grid_sample(tensor(frames).double(), grid, align_corners=False).numpy()
        difference = np.abs(apply(frames, drawn, 64) - exact)[..., inside]
        assert difference.mean() < 0.5
        assert np.percentile(difference, 99) < 4
        assert inside.mean() > 0.5


@pytest.mark.parametrize(("height", "width", "left"), [(96, 400, 100), (200, 130, 0), (300, 1200, 700)])
def test_a_square_cut_from_a_long_frame_keeps_its_detail(height: int, width: int, left: int) -> None:
    """How far a frame is averaged away depends on how much of it is shown, not on its length."""
    side = min(height, width)
    frames = clip(side, side)
    long = np.zeros((2, 3, height, width), dtype=np.uint8)
    long[:, :, :side, left : left + side] = frames
    step = side / 64
    drawn = Draw((height, width), 64, (step, 0.0, float(left), 0.0, step, 0.0))
    assert shown(apply(long, drawn, 64), tv.resize(tensor(frames), [64, 64], antialias=True), margin=1) < 1.0


@pytest.mark.parametrize(("shape", "halvings"), [((64, 64), 0), ((114, 114), 0), ((120, 120), 1), ((400, 400), 2)])
def test_frames_are_halved_until_less_than_1_8_is_left(shape: tuple[int, int], halvings: int) -> None:
    """Seen in a pattern of single lines: it is all gray after one halving, and beats before."""
    lines = np.zeros((1, 3, *shape), dtype=np.uint8)
    lines[..., ::2] = 255
    result = apply(lines, still(*shape, 64), 64).astype(int)
    assert (np.ptp(result) <= 1) == (halvings > 0)


@pytest.mark.parametrize(
    ("degrees", "shift", "scale", "shear"),
    [
        (15.0, (0, 0), 1.0, 0.0),
        (0.0, (9, -5), 1.0, 0.0),
        (0.0, (0, 0), 0.85, 0.0),
        (0.0, (0, 0), 1.0, 15.0),
        (-12.0, (-7, 4), 1.13, -11.0),
    ],
)
def test_affine_agrees_with_torchvision(degrees: float, shift: tuple[int, int], scale: float, shear: float) -> None:
    frames = clip(96, 96)
    offset = (float(shift[0]), float(shift[1]))
    matrix = affine_inverse(Affine(math.radians(degrees), offset, scale, math.radians(shear)), 96)
    ours = apply(frames, still(96, 96, 96, matrix=tuple(float(v) for v in matrix[:2].ravel())), 96)
    theirs = tv.affine(tensor(frames), degrees, list(shift), scale, [shear, 0.0], **BLACK_OUTSIDE)
    assert shown(ours, theirs) < 1.0


def test_resize_flip_and_affine_compose_in_the_order_of_the_paper() -> None:
    frames = clip(90, 130)
    wild = Policy(hflip=1.0, degrees=15.0, translate=0.15, scale=(0.85, 1.15), shear=15.0)
    for seed in range(5):
        ours = apply(frames, draw(wild, 90, 130, 72, np.random.default_rng(seed)), 72)
        rng = np.random.default_rng(seed)
        rng.random(2)
        angle = rng.uniform(-15, 15)
        shift = [round(rng.uniform(-0.15 * 72, 0.15 * 72)) for _ in range(2)]
        scale, shear = rng.uniform(0.85, 1.15), rng.uniform(-15, 15)
        square = tv.horizontal_flip(tv.resize(tensor(frames), [72, 72], antialias=True))
        theirs = tv.affine(square, angle, shift, scale, [shear, 0.0], **BLACK_OUTSIDE)
        assert shown(ours, theirs) < 1.5


def test_the_box_is_black_in_every_frame_and_nothing_else_is() -> None:
    frames = np.full((3, 3, 50, 50), 200, dtype=np.uint8)
    ours = apply(frames, still(50, 50, 50, erase=(5, 7, 12, 20)), 50)
    expected = frames.copy()
    expected[:, :, 5:17, 7:27] = 0
    assert np.array_equal(ours, expected)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([32, 224]), name=st.sampled_from(LIGHTWEIGHT))
def test_draws_stay_within_the_policy(seed: int, size: int, name: str) -> None:
    chosen = policy(name)
    drawn = draw(chosen, 240, 320, size, np.random.default_rng(seed))
    for step, factor in drawn.colour:
        reach = getattr(chosen, step)
        assert abs(factor - (0 if step == "hue" else 1)) <= reach
    linear = np.array(drawn.matrix).reshape(2, 3)[:, :2] * size / np.array([[320], [240]])
    assert chosen.scale[0] - 1e-6 <= abs(np.linalg.det(linear)) ** -0.5 <= chosen.scale[1] + 1e-6
    if drawn.erase is not None:
        top, left, height, width = drawn.erase
        assert min(top, left) >= 0
        assert max(top + height, left + width) <= size
        # Rounding both sides moves the area by up to half a pixel of each.
        slack = (height + width + 1) / 2 / size**2
        assert chosen.erase_scale[0] - slack <= height * width / size**2 <= chosen.erase_scale[1] + slack


def test_draws_fill_their_ranges() -> None:
    rng = np.random.default_rng(0)
    draws = [draw(policy("lightweight_kinetics"), 224, 224, 224, rng) for _ in range(600)]
    flipped = np.mean([np.linalg.det(np.array(d.matrix).reshape(2, 3)[:, :2]) < 0 for d in draws])
    erased = np.mean([d.erase is not None for d in draws])
    assert 0.43 < flipped < 0.57
    assert 0.63 < erased < 0.77
    for name in ("brightness", "contrast", "saturation", "hue"):
        reach = getattr(policy("lightweight_kinetics"), name)
        factors = np.array([dict(d.colour)[name] for d in draws]) - (0 if name == "hue" else 1)
        assert factors.min() < -0.97 * reach
        assert factors.max() > 0.97 * reach
        assert abs(factors.mean()) < 0.1 * reach
    assert len({tuple(name for name, _ in d.colour) for d in draws}) == 24


def test_equal_frames_stay_equal_and_equal_generators_give_equal_clips() -> None:
    frames = np.repeat(clip(60, 80, 1), 2, axis=0)
    results = []
    for _ in range(2):
        drawn = draw(policy("lightweight_epic"), 60, 80, 48, np.random.default_rng([3, 1, 4]))
        results.append(apply(frames, drawn, 48))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0][0], results[0][1])
    other = draw(policy("lightweight_epic"), 60, 80, 48, np.random.default_rng([3, 1, 5]))
    assert not np.array_equal(apply(frames, other, 48), results[0])


def test_memory_layout_and_the_input_are_left_alone() -> None:
    view = clip(60, 80)
    before = view.copy()
    drawn = draw(policy("lightweight_ssv2"), 60, 80, 48, np.random.default_rng(1))
    assert np.array_equal(apply(view, drawn, 48), apply(np.ascontiguousarray(view), drawn, 48))
    same = draw(replace(policy("lightweight_ssv2"), scale=(1.0, 1.0)), 60, 80, 60, np.random.default_rng(1))
    apply(view, same, 60)
    assert np.array_equal(view, before)


def test_a_draw_for_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="Drawn for"):
        apply(clip(60, 80), still(80, 60, 48), 48)
    with pytest.raises(ValueError, match="Drawn for"):
        apply(clip(60, 80), still(60, 80, 32), 48)


def test_random_squares_keep_the_proportions() -> None:
    starts = []
    for seed in range(40):
        drawn = draw(Policy(), 60, 100, 30, np.random.default_rng(seed), fit="crop")
        a, b, c, d, e, f = drawn.matrix
        assert (a, b, d, e, f) == (2.0, 0.0, 0.0, 2.0, 0.0)
        starts.append(c)
    assert 0 <= min(starts) < 8
    assert 32 < max(starts) <= 40


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60)])
def test_crops_are_spread_along_the_long_side(height: int, width: int) -> None:
    ramp = np.linspace(0, 255, 100).round().astype(np.uint8)
    frames = np.broadcast_to(ramp if width == 100 else ramp[:, None], (1, 3, height, width))
    means = [resize(frames, 60, "crop", i, 3).mean() for i in range(3)]
    assert means == pytest.approx([ramp[:60].mean(), ramp[20:80].mean(), ramp[40:].mean()], abs=1)
    assert np.array_equal(resize(frames, 60, "crop"), resize(frames, 60, "crop", 1, 3))
    assert np.array_equal(resize(frames, 60, "crop"), tv.center_crop(tensor(frames), [60, 60]).numpy())


def test_one_axis_may_grow_while_the_other_shrinks() -> None:
    frames = clip(30, 200)
    result = resize(frames, 64, "squash")
    assert result.shape == (2, 3, 64, 64)
    assert shown(result, tv.resize(tensor(frames), [64, 64], antialias=True)) < 1.0


@pytest.mark.parametrize(("fit", "crop", "crops"), [("crop", 3, 3), ("crop", -1, 3), ("squash", 0, 3), ("crop", 0, 0)])
def test_a_crop_that_does_not_exist_is_refused(fit: str, crop: int, crops: int) -> None:
    with pytest.raises(UsageError, match="crops count from 0"):
        resize(clip(30, 40), 16, fit, crop, crops)
