"""All stored views of a clip from one decode: equal to the views that evaluation and training read one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinelite.data import dataset
from kinelite.data.dataset import ClipDataset, Key, Reading, Stored, read_sample, train_frames, view_frames
from kinelite.data.loader import make_loader
from kinelite.data.manifest import Manifest, Row
from kinelite.types import InputSpec, Sampling

SPEC = InputSpec(4, 32)
SEED, INDEX = 5, 3


@pytest.fixture
def row(clip_folder: Path) -> Row:
    return Row(str(clip_folder / "moves_right" / "0.mp4"), (0,), "train")


def separately(row: Row, spec: InputSpec, policy: str, views: int) -> list[np.ndarray]:
    drawn = [np.random.default_rng([SEED, view, INDEX]) for view in range(1, views)]
    return [*view_frames(row, spec, (1, 1)), *(train_frames(row, spec, policy, rng) for rng in drawn)]


def together(row: Row, spec: InputSpec, policy: str, stored: Stored) -> np.ndarray:
    sample = read_sample(row, Key(0, INDEX), Reading(spec, policy, seed=SEED, stored=stored))
    assert sample.frames is not None
    return sample.frames.swapaxes(1, 2)  # [v, t, c, h, w]


@pytest.mark.parametrize("sampling", ["sparse", "dense"])
@pytest.mark.parametrize("policy", ["none", "lightweight_kinetics", "vivit_ssv2"])
def test_views_are_those_of_evaluation_and_training(row: Row, policy: str, sampling: Sampling) -> None:
    spec = replace(SPEC, sampling=sampling, fit="crop" if sampling == "dense" else "squash")
    got = together(row, spec, policy, Stored(views=4, phases=1, tubelet=2))
    for view, expected in zip(got, separately(row, spec, policy, 4), strict=True):
        np.testing.assert_array_equal(view, expected)
    assert not np.array_equal(got[1], got[2])


def test_the_file_is_decoded_once(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = dataset.read_part
    monkeypatch.setattr(dataset, "read_part", lambda *a, **k: calls.append(a) or real(*a, **k))
    together(row, SPEC, "none", Stored(4, 3, 2))
    assert len(calls) == 1


@pytest.mark.parametrize("sampling", ["sparse", "dense"])
@pytest.mark.parametrize("tubelet", [1, 2])
def test_the_middle_phase_of_the_first_view_is_the_test_sample(row: Row, sampling: Sampling, tubelet: int) -> None:
    spec = replace(SPEC, sampling=sampling)
    got = together(row, spec, "flip", Stored(2, 3, tubelet))
    assert got.shape[:2] == (2, 12)
    phases = got[0].reshape(4 // tubelet, 3, tubelet, 3, 32, 32)
    np.testing.assert_array_equal(phases[:, 1].reshape(4, 3, 32, 32), view_frames(row, spec, (1, 1))[0])
    assert not np.array_equal(phases[:, 0], phases[:, 2])


def test_phases_of_a_tubelet_look_at_its_own_segments_in_order(row: Row) -> None:
    got = together(row, replace(SPEC, frames=2), "none", Stored(1, 3, 1))[0]
    # 12 frames, 6 per tubelet, the phases at shares 1/6, 3/6 and 5/6 of it: every second frame of the clip.
    twelve = view_frames(row, replace(SPEC, frames=6), (1, 1))[0]
    np.testing.assert_array_equal(got, twelve)


def test_one_draw_holds_for_all_phases_of_a_view(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = []
    real = dataset.augment.draw
    monkeypatch.setattr(dataset.augment, "draw", lambda *a, **k: draws.append(1) or real(*a, **k))
    together(row, SPEC, "flip", Stored(3, 5, 2))
    assert len(draws) == 2


def test_views_of_a_damaged_clip_are_those_read_one_by_one(shared: Path) -> None:
    file = shared / "data" / "awkward" / "decord" / "corrupted.mp4"
    if not file.is_file():
        pytest.skip("the damaged clip is not there")
    damaged = Row(str(file), (0,), "train")
    # One frame: that of view 2 lies in the damage, those of the others before it.
    spec = replace(SPEC, frames=1)
    sample = read_sample(damaged, Key(0, INDEX), Reading(spec, "flip", seed=SEED, stored=Stored(4, 1, 1)))
    assert sample.frames is not None
    assert sample.warnings
    with pytest.warns(UserWarning, match="instead of") as told:
        expected = separately(damaged, spec, "flip", 4)
    assert len(told) == 1
    np.testing.assert_array_equal(sample.frames.swapaxes(1, 2), np.stack(expected))


def test_processes_read_the_same_views(row: Row) -> None:
    manifest = Manifest("x", {"label": ("a", "b")}, (row, replace(row, path="missing.mp4"), row))
    clips = ClipDataset(manifest, Reading(SPEC, "flip", seed=SEED, stored=Stored(2, 3, 2)))
    found = []
    for workers in (0, 1):
        loader = make_loader(clips, 3, shuffle=False, workers=workers)
        found.append(next(iter(loader)))
        loader.close()
    assert found[0].skipped == found[1].skipped
    assert found[0].frames is not None
    assert found[1].frames is not None
    assert found[0].frames.shape == (2, 2, 3, 12, 32, 32)
    np.testing.assert_array_equal(found[0].frames, found[1].frames)
