"""Rows of a manifest as arrays: decode, sample, augment. One random stream per (seed, epoch, clip)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from kinelite.data import augment
from kinelite.data.decode import ChooseTimes, ClipError, read_part
from kinelite.data.manifest import Manifest, Row
from kinelite.data.sampling import dense_times, sparse_times, view_times
from kinelite.types import InputSpec


class Key(NamedTuple):
    """Which clip, and in which epoch: all that randomness may depend on beside the seed."""

    epoch: int
    index: int


@dataclass
class Sample:
    """One clip, or the reason why there is none."""

    index: int
    frames: UInt8[Tensor, "v c t h w"] | None
    labels: tuple[int, ...]
    problem: str | None = None


@dataclass
class Batch:
    """Clips of one step. ``v`` views per clip (1 in training); clips that could not be decoded are in ``skipped``."""

    frames: UInt8[Tensor, "b v c t h w"] | None
    labels: Int64[Tensor, "b tasks"]
    indices: list[int]
    skipped: list[tuple[int, str]]


@dataclass
class ClipDataset(torch.utils.data.Dataset):
    """Clips of a manifest under an input specification.

    With ``policy`` a training sample: random times and one augmentation draw per clip. Without it a test sample:
    centred times and ``views`` = (temporal, spatial) views.
    """

    manifest: Manifest
    spec: InputSpec
    policy: str | None = None
    views: tuple[int, int] = (1, 1)
    seed: int = 0

    def __len__(self) -> int:
        return len(self.manifest.rows)

    def __getitem__(self, key: Key | int) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        row = self.manifest.rows[index]
        try:
            if self.policy is None:
                frames = view_frames(row, self.spec, self.views)
            else:
                rng = np.random.default_rng([self.seed, epoch, index])
                frames = train_frames(row, self.spec, self.policy, rng)[None]
        except ClipError as error:
            return Sample(index, None, row.labels, str(error))
        return Sample(index, torch.from_numpy(_forwards(frames)), row.labels)


def _forwards(frames: UInt8[np.ndarray, "v c t h w"]) -> UInt8[np.ndarray, "v c t h w"]:
    """The same values without negative strides (a rotated file's view), which torch cannot take over."""
    return np.ascontiguousarray(frames) if min(frames.strides) < 0 else frames


def read_row(row: Row, choose: ChooseTimes) -> UInt8[np.ndarray, "t c h w"]:
    """Frames of a row at the times that ``choose(start_s, end_s, seconds per frame)`` names; see `read_part`."""
    return read_part(row.path, choose, row.start_s, row.end_s).frames


def train_frames(row: Row, spec: InputSpec, policy: str, rng: np.random.Generator) -> UInt8[np.ndarray, "c t h w"]:
    """One training sample: random times, one augmentation draw for all frames."""

    def choose(start_s: float, end_s: float, frame_s: float) -> Float64[np.ndarray, " t"]:
        if spec.sampling == "dense":
            return dense_times(start_s, end_s, spec.frames, spec.stride * frame_s, rng)
        return sparse_times(start_s, end_s, spec.frames, rng)

    frames = read_row(row, choose)
    height, width = frames.shape[-2:]
    draw = augment.draw(augment.policy(policy), height, width, spec.size, rng, spec.fit)
    return augment.apply(frames, draw, spec.size).transpose(1, 0, 2, 3)


def view_frames(row: Row, spec: InputSpec, views: tuple[int, int]) -> UInt8[np.ndarray, "v c t h w"]:
    """All temporal x spatial test views of a clip; each distinct frame is decoded once."""
    temporal, spatial = views

    def choose(start_s: float, end_s: float, frame_s: float) -> Float64[np.ndarray, " t"]:
        times = view_times(start_s, end_s, spec.frames, temporal, spec.sampling, spec.stride * frame_s)
        return times.reshape(-1)

    fit = spec.fit if spatial == 1 else "crop"
    crops = [
        augment.resize(view, spec.size, fit, crop, spatial).transpose(1, 0, 2, 3)
        for view in np.split(read_row(row, choose), temporal)
        for crop in range(spatial)
    ]
    return np.stack(crops)


def collate(samples: list[Sample]) -> Batch:
    """Stack the samples that decoded; keep the others' reasons."""
    good = [s for s in samples if s.frames is not None]
    frames = torch.stack([s.frames for s in good if s.frames is not None]) if good else None
    width = len(samples[0].labels)
    labels = torch.tensor([s.labels for s in good], dtype=torch.int64).reshape(len(good), width)
    skipped = [(s.index, s.problem or "unknown") for s in samples if s.frames is None]
    return Batch(frames, labels, [s.index for s in good], skipped)
