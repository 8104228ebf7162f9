"""Rows as arrays: the frames of test views, damaged clips, labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinelite.data import augment, views
from kinelite.data.augment import resize
from kinelite.data.dataset import ClipDataset, Reading, read_row, train_frames, view_frames
from kinelite.data.decode import ClipWarning, decode, probe, read_clip
from kinelite.data.manifest import Manifest, Row
from kinelite.data.sampling import sparse_times
from kinelite.data.sink import Whole
from kinelite.types import InputSpec

SPEC = InputSpec(4, 32)


@pytest.fixture(scope="module")
def row(clip_folder: Path) -> Row:
    return Row(str(clip_folder / "moves_right" / "0.mp4"), (1,), "val")


@pytest.fixture(scope="module")
def frames(row: Row) -> np.ndarray:
    """All 12 frames."""
    info = probe(row.path)
    found = decode(row.path, np.arange(12) * info.period_s, info).frames
    assert len(found) == 12
    assert len({frame.tobytes() for frame in found}) == 12
    return found


def test_a_single_view_has_the_middle_frame_of_each_segment(row: Row, frames: np.ndarray) -> None:
    (view,) = view_frames(row, SPEC, (1, 1))
    assert view.shape == (4, 3, 32, 32)
    # Four segments of three frames: the middle ones are 1, 4, 7, 10.
    assert np.array_equal(view, frames[[1, 4, 7, 10]])


def test_dense_views_are_windows_of_the_stride_from_beginning_to_end(row: Row, frames: np.ndarray) -> None:
    found = view_frames(row, replace(SPEC, sampling="dense", stride=2), (2, 1))
    assert [view.shape for view in found] == [(4, 3, 32, 32)] * 2
    first, last = ([_number(frame, frames) for frame in view] for view in found)
    assert np.diff(first).tolist() == np.diff(last).tolist() == [2, 2, 2]
    assert first[0] <= 1
    assert last[-1] >= 10


def _number(frame: np.ndarray, frames: np.ndarray) -> int:
    return next(i for i, known in enumerate(frames) if np.array_equal(frame, known))


def test_spatial_views_are_crops_of_the_same_frames(row: Row, frames: np.ndarray) -> None:
    views = view_frames(row, replace(SPEC, size=16), (1, 3))
    assert [view.shape for view in views] == [(4, 3, 16, 16)] * 3
    for crop in range(3):
        expected = resize(frames[[1, 4, 7, 10]], 16, "crop", crop, 3)
        assert np.array_equal(views[crop], expected)


def test_a_clip_shorter_than_the_request_repeats_frames(row: Row) -> None:
    view = view_frames(row, replace(SPEC, frames=30), (1, 1))[0]
    assert len(view) == 30
    assert len({frame.tobytes() for frame in view}) == 12


def test_only_the_part_of_the_file_that_the_row_names_is_seen(row: Row, frames: np.ndarray) -> None:
    info = probe(row.path)
    part = replace(row, start_s=3 * info.period_s, end_s=6 * info.period_s)
    seen = {f.tobytes() for f in view_frames(part, SPEC, (1, 1))[0]}
    assert seen <= {f.tobytes() for f in frames[3:7]}
    for draw in range(5):
        times: list[float] = []

        def choose(start_s: float, end_s: float, _: float, draw: int = draw, times: list[float] = times) -> np.ndarray:
            times.extend(sparse_times(start_s, end_s, 4, np.random.default_rng(draw)))
            return np.array(times)

        read_row(part, choose, Whole())
        assert part.start_s <= min(times) <= max(times) <= part.end_s  # type: ignore[operator]


def test_training_draws_are_functions_of_the_generator(row: Row) -> None:
    a, b, c = (train_frames(row, SPEC, "lightweight_ssv2", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert a.shape == (4, 3, 32, 32)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_damaged_clip_gives_its_good_part_and_a_warning(shared: Path) -> None:
    damaged = shared / "data" / "awkward" / "decord" / "corrupted.mp4"
    if not damaged.is_file():
        pytest.skip("the damaged clip is not there")
    with pytest.warns(ClipWarning, match=r"corrupted\.mp4.*instead of"):
        (view,) = view_frames(Row(str(damaged), (0,), "val"), SPEC, (1, 1))
    assert view.shape == (4, 3, 32, 32)
    assert view.std() > 5


def test_a_clip_that_cannot_be_read_is_a_sample_with_a_reason(row: Row, tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    manifest = Manifest("x", {"label": ("a", "b")}, (Row(str(empty), (0,), "train"), row))
    for policy in (None, "lightweight_ssv2"):
        sample = ClipDataset(manifest, Reading(SPEC, policy))[0]
        assert sample.frames is None
        assert "empty.mp4" in str(sample.problem)
    good = ClipDataset(manifest, Reading(SPEC))[1]
    assert good.problem is None
    assert isinstance(good.frames, np.ndarray)
    assert good.labels == (1,)


def test_much_larger_frames_come_smaller_and_look_the_same(row: Row) -> None:
    """32 pixels for results of 8: twice 8 is kept, and the result differs by rounding and resampling only."""
    small, large = (replace(SPEC, size=size) for size in (8, 12))
    assert _first(row, small.size).shape == (1, 3, 16, 16)
    assert _first(row, large.size).shape == (1, 3, 32, 32)
    whole, reduced = (resize(_first(row, size), 8, "squash") for size in (None, 8))
    difference = np.abs(reduced.astype(int) - whole)
    assert 0 < difference.mean() < 4


def _first(row: Row, size: int | None) -> np.ndarray:
    whole = Whole()
    read_row(row, lambda *_: np.zeros(1), whole, size)
    return whole.channels_first


@pytest.mark.parametrize("policy", ["none", "lightweight_ssv2", "vivit_ssv2", "vivit_kinetics400"])
@pytest.mark.parametrize("count", [5, 30])
def test_frames_made_one_by_one_are_those_of_the_whole_clip(
    row: Row, policy: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against decoding everything first; strips of three squares, so that several are needed."""
    monkeypatch.setattr(views, "STRIP", 3 * 3 * 24**2)
    spec = replace(SPEC, frames=count, size=24)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        clip = read_clip(row.path, count, rng=rng).frames
        draw = augment.draw(augment.policy(policy), 32, 32, 24, rng, spec.fit)
        got = train_frames(row, spec, policy, np.random.default_rng(seed))
        assert np.array_equal(got, augment.apply(clip, draw, 24))
