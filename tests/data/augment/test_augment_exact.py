"""Draws that only mirror, or change nothing: exact to the bit, and the latter free."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kinelite.data.augment import Draw, Policy, applied, apply, draw, policy, resize


def noise(height: int, width: int) -> np.ndarray:
    """Two frames [t, c, h, w] as a view of [t, h, w, c] memory; any interpolation would show."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return pixels.transpose(0, 3, 1, 2)


def still(height: int, width: int, **changes: object) -> Draw:
    """The draw that only resizes to 64 x 64, with changes."""
    return replace(draw(Policy(), height, width, 64, np.random.default_rng(0)), **changes)


def test_doing_nothing_changes_no_bit() -> None:
    frames = noise(64, 64)
    assert np.array_equal(apply(frames, still(64, 64), 64), frames)
    assert np.array_equal(resize(frames, 64, "squash"), frames)
    assert np.array_equal(resize(frames, 64, "crop"), frames)


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_the_short_cut_gives_what_the_warp_gives(fit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, drawn = noise(64, 64), draw(policy("none"), 64, 64, 64, np.random.default_rng(0), fit)
    quick = apply(frames, drawn, 64)
    assert np.shares_memory(quick, frames), "a draw that changes nothing costs nothing"
    monkeypatch.setattr(applied, "changes_nothing", lambda _: False)
    warped = apply(frames, drawn, 64)
    assert not np.shares_memory(warped, frames)
    assert np.array_equal(quick, warped)


@pytest.mark.parametrize(
    ("height", "width", "changes"),
    [
        (48, 48, {}),
        (48, 96, {"matrix": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}),
        (64, 96, {"matrix": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}),
        (64, 64, {"matrix": (1.0, 0.0, 1.0, 0.0, 1.0, 0.0)}),
        (64, 64, {"matrix": (-1.0, 0.0, 64.0, 0.0, 1.0, 0.0)}),
        (64, 64, {"matrix": (0.98, 0.0, 0.0, 0.0, 1.0, 0.0)}),
        (64, 64, {"colour": (("brightness", 1.1),)}),
        (64, 64, {"erase": (5, 7, 12, 20)}),
    ],
    ids=["smaller", "smaller and wider", "wider", "shift", "mirrored", "scale", "colour", "erase"],
)
def test_whatever_changes_a_pixel_takes_no_short_cut(height: int, width: int, changes: dict[str, object]) -> None:
    frames = noise(height, width)
    before = frames.copy()
    result = apply(frames, still(height, width, **changes), 64)
    assert result.shape == (2, 3, 64, 64)
    assert not np.shares_memory(result, frames)
    assert np.array_equal(frames, before)
    assert result.shape != frames.shape or not np.array_equal(result, frames)


@pytest.mark.parametrize("axis", [0, 1])
def test_flips_are_exact(axis: int) -> None:
    only = Policy(hflip=1.0) if axis == 0 else Policy(vflip=1.0)
    frames = noise(64, 64)
    flipped = apply(frames, draw(only, 64, 64, 64, np.random.default_rng(0)), 64)
    assert np.array_equal(flipped, np.flip(frames, axis=3 - axis))


def test_the_policy_flip_mirrors_half_of_the_clips_and_does_no_more() -> None:
    frames, rng = noise(64, 64), np.random.default_rng(0)
    results = [apply(frames, draw(policy("flip"), 64, 64, 64, rng), 64) for _ in range(200)]
    mirrored = [np.array_equal(result, frames[..., ::-1]) for result in results]
    assert all(flip or np.array_equal(result, frames) for flip, result in zip(mirrored, results, strict=True))
    assert 70 < sum(mirrored) < 130
