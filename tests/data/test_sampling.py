from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinelite.data.sampling import dense_times, sparse_times, view_times
from kinelite.errors import UsageError

starts = st.floats(0, 4000, allow_nan=False)
lengths = st.floats(1e-3, 4000, allow_nan=False)
counts = st.integers(1, 128)
strides = st.floats(1e-3, 2.0)
seeds = st.one_of(st.none(), st.integers(0, 2**32))


def rng_of(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)


def inside_and_ordered(times: np.ndarray, start: float, end: float) -> bool:
    return bool((np.diff(times) >= 0).all() and times[0] >= start and times[-1] <= end)


@given(starts, lengths, counts, seeds)
def test_sparse_has_one_time_in_each_segment(start: float, length: float, frames: int, seed: int | None) -> None:
    times = sparse_times(start, start + length, frames, rng_of(seed))
    edges = np.linspace(start, start + length, frames + 1)
    assert inside_and_ordered(times, start, start + length)
    assert (times >= edges[:-1] - 1e-6).all()
    assert (times <= edges[1:] + 1e-6).all()


@given(st.integers(1, 300), st.sampled_from([10.0, 24000 / 1001, 25.0, 30000 / 1001, 60.0]), starts)
def test_sparse_centres_hit_every_frame_once(frames: int, fps: float, start: float) -> None:
    times = sparse_times(start, start + frames / fps, frames)
    assert np.floor((times - start) * fps).tolist() == list(range(frames))


def test_sparse_draws_differ_and_repeat_with_the_seed() -> None:
    first, second = (sparse_times(0.0, 9.0, 8, np.random.default_rng(3)) for _ in range(2))
    assert (first == second).all()
    assert (first != sparse_times(0.0, 9.0, 8, np.random.default_rng(4))).any()


@given(starts, lengths, counts, strides, seeds)
def test_dense_steps_are_the_stride_or_clamped(
    start: float, length: float, frames: int, stride: float, seed: int | None
) -> None:
    end = start + length
    times = dense_times(start, end, frames, stride, rng_of(seed))
    assert inside_and_ordered(times, start, end)
    steps = np.diff(times)
    assert np.all(np.isclose(steps, stride, atol=1e-6) | (times[1:] == end))
    if length >= (frames - 1) * stride:
        assert np.allclose(steps, stride, atol=1e-6)


def test_dense_in_the_middle() -> None:
    assert dense_times(0.0, 10.0, 3, 1.0).tolist() == [4.0, 5.0, 6.0]


def test_dense_repeats_the_last_frame_of_a_short_clip() -> None:
    assert dense_times(1.0, 2.0, 5, 0.4, np.random.default_rng(0)).tolist() == pytest.approx([1.0, 1.4, 1.8, 2.0, 2.0])


def test_dense_random_windows_reach_both_ends() -> None:
    rng = np.random.default_rng(0)
    offsets = [dense_times(0.0, 10.0, 4, 1.0, rng)[0] for _ in range(500)]
    assert min(offsets) < 0.1
    assert max(offsets) > 6.9


@given(starts, lengths, counts, st.integers(1, 8), st.sampled_from(["sparse", "dense"]), strides)
def test_views_are_spread_and_each_is_a_sample(
    start: float, length: float, frames: int, views: int, sampling: str, stride: float
) -> None:
    times = view_times(start, start + length, frames, views, sampling, stride)  # type: ignore[arg-type]
    assert times.shape == (views, frames)
    assert all(inside_and_ordered(view, start, start + length) for view in times)
    steps = np.diff(times[:, 0])
    assert (steps >= -1e-9).all()
    assert np.allclose(steps, steps[:1] if len(steps) else 0, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 4, 50])
def test_one_view_is_the_test_sampling(frames: int) -> None:
    assert (view_times(1.0, 9.0, frames, 1, "sparse", 0.1)[0] == sparse_times(1.0, 9.0, frames)).all()
    assert (view_times(1.0, 9.0, frames, 1, "dense", 0.1)[0] == dense_times(1.0, 9.0, frames, 0.1)).all()


def test_dense_views_show_first_and_last_frames_once() -> None:
    fps, frames = 10.0, 40
    times = view_times(0.0, frames / fps, 4, 3, "dense", 1 / fps)
    shown = np.floor(times * fps + 1e-9).astype(int)
    assert shown[0].tolist() == [0, 1, 2, 3]
    assert shown[1].tolist() == [18, 19, 20, 21]
    assert shown[-1].tolist() == [36, 37, 38, 39]


def test_sparse_views_together_are_a_finer_sampling() -> None:
    together = np.sort(view_times(2.0, 5.0, 6, 4, "sparse", 0.1).ravel())
    assert np.allclose(together, sparse_times(2.0, 5.0, 24))


@pytest.mark.parametrize(
    "call",
    [
        lambda: sparse_times(2.0, 2.0, 4),
        lambda: sparse_times(2.0, 1.0, 4),
        lambda: sparse_times(0.0, float("nan"), 4),
        lambda: sparse_times(0.0, 1.0, 0),
        lambda: dense_times(0.0, 1.0, 4, 0.0),
        lambda: dense_times(0.0, 1.0, 4, float("inf")),
        lambda: view_times(0.0, 1.0, 4, 0, "sparse", 0.1),
        lambda: view_times(0.0, 1.0, 0, 2, "dense", 0.1),
    ],
)
def test_impossible_requests_are_usage_errors(call: object) -> None:
    with pytest.raises(UsageError):
        call()  # type: ignore[operator]
