"""Samples in the order of their batches, read by a `Crew` of processes some batches ahead of the trainer."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO

import numpy as np
from jaxtyping import UInt8

from kinelite.data.crew import LIMIT_S, Crew, Lost
from kinelite.data.dataset import ClipDataset, Key, Reading, Sample
from kinelite.data.messages import decode, encode
from kinelite.data.worker import Answer, Task
from kinelite.errors import SetupError, UsageError


class Pool:
    """``workers`` processes that read clips of ``dataset`` in batches of at most ``batch``; started at the first use.

    A clip that takes longer than ``limit_s`` seconds, or on which a worker dies twice, is a problem of that clip alone.
    """

    def __init__(self, dataset: ClipDataset, batch: int, workers: int, limit_s: float = LIMIT_S) -> None:
        if not 0 < limit_s < 1e6:
            raise UsageError(f"A limit of {limit_s} s for a clip: give seconds above 0, such as --clips.limit-s 60.")
        self.dataset, self.batch, self.workers, self.limit_s = dataset, batch, workers, limit_s
        # One batch is in use while others are read: at least one more, and two clips for each worker.
        self.blocks = 1 + max(1, -(-2 * workers // batch))
        self.stage_s: dict[str, float] = {}
        """Seconds of all workers per stage since the beginning."""
        self._crew: Crew | None = None
        self._number = 0
        self._iteration = 0

    def batches(self, keys: Iterable[list[Key]]) -> Iterator[list[Sample]]:
        """Samples of each list of keys, in order. Frames lie in shared memory: copy them before asking for the next.

        One iteration at a time: a newer one, or `close`, ends those before it, which then raise UsageError.
        """
        crew = self._running()
        self._iteration += 1
        mine = self._iteration
        crew.forget()
        blocks, ahead, source = deque(range(self.blocks)), deque[tuple[int, dict[int, Task]]](), iter(keys)
        while True:
            if mine != self._iteration:
                raise UsageError("These batches ended when the loader was closed, or when others of it were begun.")
            for batch in islice(source, len(blocks)):
                block = blocks.popleft()
                tasks = self._tasks(batch, block)
                ahead.append((block, tasks))
                crew.put({number: encode(task) for number, task in tasks.items()})
            if not ahead:
                return
            block, tasks = ahead.popleft()
            answers = crew.take(tasks)
            yield [self._sample(task, answer) for task, answer in zip(tasks.values(), answers, strict=True)]
            blocks.append(block)

    @property
    def restarts(self) -> int:
        """How often a worker had to be replaced."""
        return self._crew.restarts if self._crew else 0

    def pids(self) -> list[int]:
        """Process numbers of the workers."""
        return self._crew.pids() if self._crew else []

    def close(self) -> None:
        """Stop the workers. The next use starts new ones."""
        self._iteration += 1
        if self._crew:
            self._end()
            self._crew = None

    def _running(self) -> Crew:
        if self._crew is None:
            reading = self.dataset.reading
            memory, self._slots = _shared(self.blocks * self.batch, reading)
            fds = (memory.fileno(),)
            self._crew = Crew("kinelite.data.worker", encode(reading), self.workers, self.limit_s, fds=fds)
            # The crew's thread keeps the crew alive, so it ends with the pool and not by itself.
            self._end = weakref.finalize(self, _close, self._crew, memory)
        return self._crew

    def _tasks(self, keys: list[Key], block: int) -> dict[int, Task]:
        first = self._number
        self._number += len(keys)
        rows = self.dataset.manifest.rows
        return {
            first + place: Task(block * self.batch + place, key.epoch, key.index, rows[key.index])
            for place, key in enumerate(keys)
        }

    def _sample(self, task: Task, message: bytes | Lost) -> Sample:
        answer = Answer(_problem(task, message)) if isinstance(message, Lost) else decode(message, Answer)
        for name, seconds in answer.stage_s.items():
            self.stage_s[name] = self.stage_s.get(name, 0.0) + seconds
        frames = None if answer.problem else self._slots[task.slot]
        return Sample(task.index, frames, task.row.labels, answer.problem, answer.warnings)


def _close(crew: Crew, memory: IO[bytes]) -> None:
    crew.close()
    memory.close()


def _problem(task: Task, lost: Lost) -> str:
    if lost.late:
        return f"{task.row.path}: {lost.how} and was given up"
    return f"{task.row.path}: ended its reader twice ({lost.how})" + (f": {lost.said}" if lost.said else "")


def _shared(slots: int, reading: Reading) -> tuple[IO[bytes], UInt8[np.ndarray, "slots v c t h w"]]:
    """Memory that processes share, as a file without a name: it is gone when the last of them ends, however that is.

    Reserved at once, since a container's small /dev/shm would otherwise end the run by a signal in the middle.
    """
    shape = (slots, *reading.shape)
    size = int(np.prod(shape))
    for folder in ("/dev/shm", tempfile.gettempdir()):
        if not os.access(folder, os.W_OK):
            continue
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the caller closes it
        try:
            _reserve(file, size)
        except OSError:
            file.close()
            continue
        return file, np.memmap(file, np.uint8, "r+", shape=shape)
    raise SetupError(f"No room for {size / 2**20:.0f} MiB of shared memory. Try fewer --workers or a smaller --batch")


def _reserve(file: IO[bytes], size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
