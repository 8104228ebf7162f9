"""Batches of clips: order by (seed, epoch), seekable to any batch, with the time spent waiting measured."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from kinelite.data.dataset import Batch, ClipDataset, Key, collate
from kinelite.records import cores


@dataclass
class EpochBatches(Sampler[list[Key]]):
    """Keys of the batches of one epoch, from ``start`` on. ``seek`` moves it; nothing else changes it."""

    clips: int
    batch: int
    seed: int
    shuffle: bool
    epoch: int = 0
    start: int = 0

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
            yield [Key(self.epoch, int(index)) for index in part]


@dataclass
class ClipLoader:
    """A DataLoader that measures how long the trainer waited for it (``wait_s``)."""

    inner: DataLoader
    batches: EpochBatches
    wait_s: float = 0.0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        began = time.perf_counter()
        for batch in self.inner:
            self.wait_s += time.perf_counter() - began
            yield batch
            began = time.perf_counter()


def make_loader(
    dataset: ClipDataset, batch: int, *, shuffle: bool, workers: int, pin: bool = False, seed: int = 0
) -> ClipLoader:
    """A loader of ``batch`` clips per step. ``workers`` 0 decodes in this process."""
    batches = EpochBatches(len(dataset), batch, seed, shuffle)
    inner = DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker,
        pin_memory=pin,
    )
    return ClipLoader(inner, batches)


def choose_workers(asked: int, device: str, clips: int) -> int:
    """``asked``, or for -1: all cores but one for a GPU; none on the CPU, where they would take cores from the model.

    On two cores a model on two threads beside one worker was ten times slower than either alone: at every barrier one
    thread waits until the other one has a core again.
    """
    if asked >= 0:
        return asked
    return 0 if device == "cpu" else min(max(1, cores() - 1), clips)


def leave_cores(workers: int, device: str) -> None:
    """Give a model on the CPU the cores that the workers leave (see `choose_workers`)."""
    if device == "cpu" and workers:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores() - workers)))


def _start_worker(_: int) -> None:
    # A worker is one core: threads of its own would fight with the other workers. Stopping is the trainer's business:
    # Ctrl-C and a scheduler's SIGTERM reach the whole group, and the trainer needs its workers to finish the step.
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
