"""Rows of a manifest as arrays: decode, sample, augment. One random stream per (seed, epoch, clip).

Needs no PyTorch, so that the processes that read clips start in a fraction of a second and stay small.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from kinelite.data import augment
from kinelite.data.decode import ChooseTimes, ClipError, forget, probe, read_part
from kinelite.data.manifest import Manifest, Row
from kinelite.data.sampling import dense_times, sparse_times, view_times
from kinelite.data.sink import Sink
from kinelite.data.stages import stage
from kinelite.data.views import Views
from kinelite.types import InputSpec


class Key(NamedTuple):
    """Which clip, and in which epoch: all that randomness may depend on beside the seed."""

    epoch: int
    index: int


@dataclass(frozen=True)
class Stored:
    """Which views of a clip are read at once, for their features to be stored."""

    views: int
    """The first is the test sample, the others are training samples."""
    phases: int
    """Moments of each tubelet, an odd number."""
    tubelet: int
    """Frames per tubelet."""


@dataclass(frozen=True)
class Reading:
    """How a row becomes frames. Together with the row and its key it determines every byte of them."""

    spec: InputSpec
    policy: str | None = None
    """Augmentation policy of a training sample: random times, one draw per clip. None: a test sample."""
    views: tuple[int, int] = (1, 1)
    """(temporal, spatial) views of a test sample."""
    seed: int = 0
    decoder: str = "pyav"
    """What decodes video files; see `kinelite.data.decode.use_decoder`."""
    stored: Stored | None = None
    """All views of a clip whose features are stored, instead of a training or test sample; see `stored_frames`."""
    remember: bool = True
    """Keep what is known of files from one epoch to the next. A set of far more clips than 1,024 gains nothing by it,
    which is what a measurement on a few clips has to show."""

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape of a sample: views, channels, frames, height, width."""
        if self.stored:
            frames = self.spec.frames * self.stored.phases
            return self.stored.views, 3, frames, self.spec.size, self.spec.size
        views = 1 if self.policy else self.views[0] * self.views[1]
        return views, 3, self.spec.frames, self.spec.size, self.spec.size


@dataclass
class Sample:
    """One clip, or the reason why there is none."""

    index: int
    frames: UInt8[np.ndarray, "v c t h w"] | None
    labels: tuple[int, ...]
    problem: str | None = None
    warnings: tuple[str, ...] = field(default=())
    """What the user should know of a clip that was used all the same."""


@dataclass
class ClipDataset:
    """Clips of a manifest under one way of reading them."""

    manifest: Manifest
    reading: Reading

    def __len__(self) -> int:
        return len(self.manifest.rows)

    def __getitem__(self, key: Key | int) -> Sample:
        key = key if isinstance(key, Key) else Key(0, key)
        return read_sample(self.manifest.rows[key.index], key, self.reading)


def read_sample(row: Row, key: Key, reading: Reading, out: UInt8[np.ndarray, "v c t h w"] | None = None) -> Sample:
    """One clip into ``out`` (a new array when that is None), or the reason why it cannot be read.

    Whatever a file makes a decoder raise is such a reason: one clip must not end hours of training. Where all clips
    fail, the run fails, and says why.
    """
    frames = np.empty(reading.shape, np.uint8) if out is None else out
    if not reading.remember:
        forget()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            _fill(frames, row, key, reading)
        except ClipError as error:
            return Sample(key.index, None, row.labels, str(error))
        except (cv2.error, ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, ValueError) as error:
            reason = f"{row.path}: cannot be read ({type(error).__name__}: {error})"
            return Sample(key.index, None, row.labels, reason)
    return Sample(key.index, frames, row.labels, warnings=tuple(str(w.message) for w in caught))


def _fill(out: UInt8[np.ndarray, "v c t h w"], row: Row, key: Key, reading: Reading) -> None:
    if reading.stored is not None:
        from kinelite.data.stored_views import stored_frames

        stored_frames(out, row, key.index, reading, reading.stored)
    elif reading.policy is None:
        fill_views(out, row, reading.spec, reading.views)
    else:
        rng = np.random.default_rng([reading.seed, key.epoch, key.index])
        fill_training(out, row, reading.spec, reading.policy, rng)


def fill_training(
    out: UInt8[np.ndarray, "1 c t h w"], row: Row, spec: InputSpec, policy: str, rng: np.random.Generator
) -> None:
    """One training sample: random times, one augmentation draw for all frames."""

    def draws(height: int, width: int) -> list[augment.Draw]:
        return [training_draw(spec, policy, height, width, rng)]

    read_row(row, training_times(spec, rng), Views(out, draws), spec.size)


def training_draw(spec: InputSpec, policy: str, height: int, width: int, rng: np.random.Generator) -> augment.Draw:
    """What happens to frames of a training sample whose times ``rng`` has drawn. That leaves ``rng`` as it is, because
    a clip that turns out to be damaged has its times drawn again."""
    state = rng.bit_generator.state
    drawn = augment.draw(augment.policy(policy), height, width, spec.size, rng, spec.fit)
    rng.bit_generator.state = state
    return drawn


def training_times(spec: InputSpec, rng: np.random.Generator) -> ChooseTimes:
    """How a training sample chooses its times: at random, sparse or dense as the model wants."""

    def choose(start_s: float, end_s: float, frame_s: float) -> Float64[np.ndarray, " t"]:
        if spec.sampling == "dense":
            return dense_times(start_s, end_s, spec.frames, spec.stride * frame_s, rng)
        return sparse_times(start_s, end_s, spec.frames, rng)

    return choose


def fill_views(out: UInt8[np.ndarray, "v c t h w"], row: Row, spec: InputSpec, views: tuple[int, int]) -> None:
    """All temporal x spatial test views of a clip; each distinct frame is decoded once."""
    temporal, spatial = views

    def choose(start_s: float, end_s: float, frame_s: float) -> Float64[np.ndarray, " t"]:
        times = view_times(start_s, end_s, spec.frames, temporal, spec.sampling, spec.stride * frame_s)
        return times.reshape(-1)

    def draws(height: int, width: int) -> list[augment.Draw]:
        fit = spec.fit if spatial == 1 else "crop"
        return [augment.fixed_draw(height, width, spec.size, fit, crop, spatial) for crop in range(spatial)] * temporal

    read_row(row, choose, Views(out, draws, spatial), spec.size)


def train_frames(row: Row, spec: InputSpec, policy: str, rng: np.random.Generator) -> UInt8[np.ndarray, "t c h w"]:
    """One training sample, frame by frame."""
    out = np.empty(Reading(spec, policy).shape, np.uint8)
    fill_training(out, row, spec, policy, rng)
    return out[0].swapaxes(0, 1)


def view_frames(row: Row, spec: InputSpec, views: tuple[int, int]) -> list[UInt8[np.ndarray, "t c h w"]]:
    """All test views, frame by frame."""
    out = np.empty(Reading(spec, views=views).shape, np.uint8)
    fill_views(out, row, spec, views)
    return list(out.swapaxes(1, 2))


LARGE, KEPT = 3, 2
"""Frames of at least so many times the size wanted are brought to so many times while they are converted to RGB: it
saves half of what is done to a full-HD frame after decoding, and leaves more detail than any draw looks at."""


def read_row(row: Row, choose: ChooseTimes, sink: Sink, size: int | None = None) -> None:
    """Frames of a row at the times that ``choose(start_s, end_s, seconds per frame)`` names, into ``sink``; see
    `read_part`. For results of ``size`` pixels, much larger frames come smaller."""
    path, short_side = os.fspath(row.path), None
    with stage("decode"):
        if size is not None:
            info = probe(path)
            short_side = KEPT * size if min(info.height, info.width) >= LARGE * size else None
        read_part(path, choose, sink, row.start_s, row.end_s, short_side)
