"""Batches of clips: order by (seed, epoch), seekable to any batch, with the time spent waiting measured."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from kinelite.data.clip import ClipWarning
from kinelite.data.crew import LIMIT_S
from kinelite.data.dataset import ClipDataset, Key, Sample
from kinelite.data.decode import decoding_with
from kinelite.data.pool import Pool
from kinelite.ranks import cores_here


@dataclass
class Batch:
    """Clips of one step. ``v`` views per clip (1 in training); clips that could not be read are in ``skipped``."""

    frames: UInt8[Tensor, "b v c t h w"] | None
    labels: Int64[Tensor, "b tasks"]
    indices: list[int]
    skipped: list[tuple[int, str]]


@dataclass(frozen=True)
class Share:
    """What one of several processes reads."""

    rank: int = 0
    ranks: int = 1
    whole_batches: bool = False
    """Every so many-th batch (what is scored then has the company that it has in one process), or a part of each."""

    def of_batch(self, clips: int) -> slice:
        """This process's part of a batch: neighbours, so that all parts one behind the other are the batch."""
        return slice(self.rank * clips // self.ranks, (self.rank + 1) * clips // self.ranks)


ALL = Share()
"""Everything: one process."""


@dataclass
class EpochBatches:
    """Keys of the batches of one epoch, from ``start`` on. ``seek`` moves it; nothing else changes it.

    Where several processes share the clips, the batches are those of one process and ``share`` says which clips of
    them are read here: a part of each, perhaps none, or whole batches. The length counts all batches.
    """

    clips: int
    batch: int
    seed: int
    shuffle: bool
    epoch: int = 0
    start: int = 0
    share: Share = ALL

    def seek(self, epoch: int, start: int = 0) -> None:
        """The next iteration yields the batches of ``epoch``, beginning with number ``start``."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return -(-self.clips // self.batch)

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.clips)
        if self.shuffle:
            # 2**31 keeps the stream of the order apart from those of the clips, which use [seed, epoch, index].
            order = np.random.default_rng([self.seed, self.epoch, 2**31]).permutation(self.clips)
        for number in range(self.start, len(self)):
            part = order[number * self.batch : (number + 1) * self.batch]
            if not self.share.whole_batches:
                part = part[self.share.of_batch(len(part))]
            elif number % self.share.ranks != self.share.rank:
                continue
            yield [Key(self.epoch, int(index)) for index in part]


@dataclass
class ClipLoader:
    """Batches of a data set, read in this process or by a `Pool`; measures how long the trainer waited (``wait_s``)."""

    dataset: ClipDataset
    batches: EpochBatches
    pool: Pool | None = None
    pin: bool = False
    wait_s: float = 0.0
    told: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        began = time.perf_counter()
        read = self.pool.batches(self.batches) if self.pool else map(self._here, self.batches)
        for samples in read:
            batch = self._batch(samples)
            self.wait_s += time.perf_counter() - began
            # A long clip is large: none of it may live on here while the next one is read.
            del samples
            yield batch
            del batch
            began = time.perf_counter()

    def nothing(self) -> UInt8[Tensor, "0 c t h w"]:
        """Frames of no clip, in the shape of training clips."""
        return torch.empty(0, *self.dataset.reading.shape[1:], dtype=torch.uint8)

    def close(self) -> None:
        """Stop the workers, if there are any; the loader can be iterated again and then starts new ones."""
        if self.pool:
            self.pool.close()

    def _here(self, keys: list[Key]) -> list[Sample]:
        with decoding_with(self.dataset.reading.decoder):
            return [self.dataset[key] for key in keys]

    def _batch(self, samples: list[Sample]) -> Batch:
        for sample in samples:
            for text in sample.warnings:
                if text not in self.told:
                    self.told.add(text)
                    warnings.warn(text, ClipWarning, stacklevel=3)
        return collate(samples, self.pin)


def collate(samples: list[Sample], pin: bool = False) -> Batch:
    """A batch of the samples that could be read, and the others' reasons. Frames are copied, but for those of a single
    sample in memory of its own; ``pin`` locks the copy."""
    good = [s for s in samples if s.frames is not None]
    frames = uncopied(good, pin)
    if frames is None and good and good[0].frames is not None:
        frames = torch.empty((len(good), *good[0].frames.shape), dtype=torch.uint8, pin_memory=pin)
        for target, sample in zip(frames.numpy(), good, strict=True):
            target[:] = sample.frames
    width = len(samples[0].labels) if samples else 0
    labels = torch.tensor([s.labels for s in good], dtype=torch.int64).reshape(len(good), width)
    skipped = [(s.index, s.problem or "unknown") for s in samples if s.frames is None]
    return Batch(frames, labels, [s.index for s in good], skipped)


def uncopied(samples: list[Sample], pin: bool = False) -> UInt8[Tensor, "1 v c t h w"] | None:
    """Frames of a single sample in memory of its own, as they are; None of others, and where they are to be pinned."""
    only = samples[0].frames if len(samples) == 1 else None
    return torch.from_numpy(only)[None] if only is not None and only.flags.owndata and not pin else None


def make_loader(
    dataset: ClipDataset,
    batch: int,
    *,
    shuffle: bool,
    workers: int,
    pin: bool = False,
    seed: int = 0,
    limit_s: float = LIMIT_S,
    share: Share = ALL,
) -> ClipLoader:
    """A loader of ``batch`` clips per step, of which this process reads its ``share``. ``workers`` 0 reads in this
    process, where ``limit_s`` has no effect."""
    batches = EpochBatches(len(dataset), batch, seed, shuffle, share=share)
    most = batch if share.whole_batches else -(-batch // share.ranks)
    pool = Pool(dataset, most, workers, limit_s) if workers > 0 else None
    return ClipLoader(dataset, batches, pool, pin)


def choose_workers(asked: int, device: str, clips: int) -> int:
    """``asked``, or for -1: all cores but one for a GPU; none on the CPU, where they would take cores from the model.

    On two cores a model on two threads beside one worker was ten times slower than either alone: at every barrier one
    thread waits until the other one has a core again.
    """
    if asked >= 0:
        return asked
    return 0 if device == "cpu" else min(max(1, cores_here() - 1), clips)


def leave_cores(workers: int, device: str) -> None:
    """Give a model on the CPU the cores that the workers leave (see `choose_workers`)."""
    if device == "cpu" and workers:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores_here() - workers)))
