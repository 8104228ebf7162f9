"""Samples in the order of their batches, read by a `Crew` of processes some batches ahead of the trainer."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from kinelite.data.crew import LIMIT_S, Crew
from kinelite.data.dataset import ClipDataset, Key, Sample
from kinelite.data.worker import Answer, Task


class Pool:
    """``workers`` processes that read clips of ``dataset`` in batches of at most ``batch``; started at the first use.

    A clip that takes longer than ``limit_s`` seconds, or on which a worker dies twice, is a problem of that clip alone.
    """

    def __init__(self, dataset: ClipDataset, batch: int, workers: int, limit_s: float = LIMIT_S) -> None:
        self.dataset, self.batch = dataset, batch
        # One batch is in use while others are read: at least one more, and two clips for each worker.
        self.blocks = 1 + max(1, -(-2 * workers // batch))
        self.stage_s: dict[str, float] = {}
        """Seconds of all workers per stage since the beginning."""
        self.workers, self.limit_s = workers, limit_s
        self._crew: Crew | None = None
        self._number = 0

    def batches(self, keys: Iterable[list[Key]]) -> Iterator[list[Sample]]:
        """Samples of each list of keys, in order. Frames lie in shared memory: copy them before asking for the next."""
        crew = self._running()
        crew.forget()
        blocks, ahead, source = deque(range(self.blocks)), deque[list[Task]](), iter(keys)
        while True:
            for batch in islice(source, len(blocks)):
                tasks = self._tasks(batch, blocks.popleft())
                ahead.append(tasks)
                crew.read(tasks)
            if not ahead:
                return
            tasks = ahead.popleft()
            yield [self._sample(crew, task, answer) for task, answer in zip(tasks, crew.answers(tasks), strict=True)]
            blocks.append(tasks[0].slot // self.batch)

    @property
    def restarts(self) -> int:
        """How often a worker had to be replaced."""
        return self._crew.restarts if self._crew else 0

    def pids(self) -> list[int]:
        """Process numbers of the workers."""
        return self._crew.pids() if self._crew else []

    def close(self) -> None:
        """Stop the workers. The next use starts new ones."""
        if self._crew:
            self._crew.close()
            self._crew = None

    def _running(self) -> Crew:
        if self._crew is None:
            self._crew = Crew(self.dataset.reading, self.blocks * self.batch, self.workers, self.limit_s)
            # The crew's thread keeps the crew alive, so it ends with the pool and not by itself.
            weakref.finalize(self, self._crew.close)
        return self._crew

    def _tasks(self, keys: list[Key], block: int) -> list[Task]:
        first = self._number
        self._number += len(keys)
        return [
            Task(first + place, block * self.batch + place, key.epoch, key.index, self.dataset.manifest.rows[key.index])
            for place, key in enumerate(keys)
        ]

    def _sample(self, crew: Crew, task: Task, answer: Answer) -> Sample:
        for name, seconds in answer.stage_s.items():
            self.stage_s[name] = self.stage_s.get(name, 0.0) + seconds
        frames = None if answer.problem else crew.slot(task.slot)
        return Sample(task.index, frames, task.row.labels, answer.problem, tuple(answer.warnings))
