"""All views of a clip whose features are to be stored, from one decode of its file."""

from __future__ import annotations

import os

import numpy as np
from jaxtyping import Float64, UInt8

from kinelite.data import augment
from kinelite.data.dataset import KEPT, LARGE, Reading, Stored, read_row
from kinelite.data.decode import probe
from kinelite.data.manifest import Row
from kinelite.data.sampling import phase_times
from kinelite.data.stages import stage
from kinelite.types import InputSpec

TOGETHER = 2**29
"""Pixels of decoded frames that are held at a time (1.5 GiB); views of longer clips are read one after another."""


def stored_frames(row: Row, index: int, reading: Reading, stored: Stored) -> list[UInt8[np.ndarray, "t c h w"]]:
    """Frames of each view, ``t = frames * phases``: tubelet by tubelet, its phases one after another.

    View 0 is the test sample; view v is what training draws for clip ``index`` in epoch v, with one augmentation draw
    for all of its phases. One phase gives exactly the frames of `view_frames` and `train_frames`.
    """
    together = max(1, TOGETHER // (reading.spec.frames * stored.phases * _pixels(row, reading.spec.size)))
    views: list[UInt8[np.ndarray, "t c h w"]] = []
    for first in range(0, stored.views, together):
        views += _some_views(row, index, reading, stored, range(first, min(stored.views, first + together)))
    return views


def _pixels(row: Row, size: int) -> int:
    """Pixels of a frame as `read_row` gives it."""
    info = probe(os.fspath(row.path))
    short, long = sorted((info.height, info.width))
    return short * long if short < LARGE * size else (KEPT * size) ** 2 * long // short


def _some_views(
    row: Row, index: int, reading: Reading, stored: Stored, numbers: range
) -> list[UInt8[np.ndarray, "t c h w"]]:
    spec, generators, calls = reading.spec, {}, 0

    def choose(start_s: float, end_s: float, frame_s: float) -> Float64[np.ndarray, " t"]:
        nonlocal calls
        calls += 1
        times = []
        for view in numbers:
            rng = generators.setdefault(view, np.random.default_rng([reading.seed, view, index])) if view else None
            found = phase_times(start_s, end_s, spec.frames, stored.phases, spec.sampling, spec.stride * frame_s, rng)
            times.append(by_tubelet(found, stored.tubelet))
        return np.concatenate(times)

    with stage("decode"):
        frames = read_row(row, choose, spec.size)
    if calls > 1 and len(numbers) > 1:
        # Damaged further on, and sampled again from what is whole; a view that ends before the damage is not concerned.
        return [
            frames for view in numbers for frames in _some_views(row, index, reading, stored, range(view, view + 1))
        ]
    with stage("augment"):
        parts = np.split(frames, len(numbers))
        return [_augmented(part, reading, generators.get(view)) for view, part in zip(numbers, parts, strict=True)]


def _augmented(
    frames: UInt8[np.ndarray, "t c h w"], reading: Reading, rng: np.random.Generator | None
) -> UInt8[np.ndarray, "t c size size"]:
    spec: InputSpec = reading.spec
    if rng is None or reading.policy is None:
        return augment.resize(frames, spec.size, spec.fit)
    height, width = frames.shape[-2:]
    draw = augment.draw(augment.policy(reading.policy), height, width, spec.size, rng, spec.fit)
    return augment.apply(frames, draw, spec.size)


def by_tubelet(times: Float64[np.ndarray, "phases t"], tubelet: int) -> Float64[np.ndarray, " phases_t"]:
    """Times ordered by tubelet, then phase, then frame within the tubelet."""
    return times.reshape(len(times), -1, tubelet).swapaxes(0, 1).reshape(-1)
