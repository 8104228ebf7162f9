"""Processes that work on clips and survive every file: one that hangs or crashes a decoder costs one clip.

Tasks are handed out one by one, each to the first worker that is free, by a thread that sleeps otherwise. What a worker
does depends on its task alone, so neither their number nor a restart changes a result.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from multiprocessing.connection import Pipe, wait

from kinelite.data.crew_worker import Lost, Worker, start
from kinelite.errors import SetupError

__all__ = ["LIMIT_S", "Crew", "Lost"]

LIMIT_S = 60.0
"""Seconds that one clip may take before its worker is taken to hang."""
START_S = 120.0
"""Seconds that a worker may take to start, on a machine that is busy with everything else."""
FALSE_STARTS = 8
"""So many workers in a row that end before they are ready mean that none ever will be."""
LOOK_S = 1.0
"""Time limits are looked at so often while a worker has a task."""
DEATHS = 2
"""A worker may be killed for reasons of its own; a clip on which so many die is the reason itself."""


class Crew:
    """``workers`` processes of ``module``, which calls `kinelite.data.serve.serve`. ``hello`` is their first message.

    Raises SetupError where processes cannot start. ``fds`` are file descriptors that they inherit.
    """

    def __init__(
        self, module: str, hello: bytes, workers: int, limit_s: float = LIMIT_S, *, fds: Sequence[int] = ()
    ) -> None:
        if os.name != "posix":
            raise SetupError("Processes that read clips need Linux or macOS. Elsewhere: --workers 0")
        self.module, self.hello, self.limit_s, self.fds = module, hello, limit_s, tuple(fds)
        self.restarts = 0
        self._state = threading.Condition()
        self._queue: deque[int] = deque()
        self._messages: dict[int, bytes] = {}
        self._done: dict[int, bytes | Lost] = {}
        self._deaths: dict[int, int] = {}
        self._false_starts = 0
        self._failure: Exception | None = None
        self._closing = False
        self._owner = os.getpid()
        self._bell, self._listen = Pipe()
        self._workers = [start(self.module, self.hello, self.fds) for _ in range(workers)]
        self._thread = threading.Thread(target=self._run, name="clip workers", daemon=True)
        self._thread.start()

    def put(self, tasks: Mapping[int, bytes]) -> None:
        """Queue tasks by number; a number must not be in use."""
        with self._state:
            self._messages.update(tasks)
            self._queue.extend(tasks)
        self._bell.send_bytes(b"!")

    def take(self, numbers: Iterable[int]) -> list[bytes | Lost]:
        """Wait for the answers to these tasks. Raises SetupError when the workers cannot go on."""
        wanted = list(numbers)
        with self._state:
            self._state.wait_for(lambda: self._failure or all(number in self._done for number in wanted))
            if self._failure:
                raise self._failure
            return [self._done.pop(number) for number in wanted]

    def take_any(self) -> tuple[int, bytes | Lost]:
        """Wait for the next answer, whichever it is. Raises SetupError when the workers cannot go on."""
        with self._state:
            self._state.wait_for(lambda: self._failure or self._done)
            if self._failure:
                raise self._failure
            number = next(iter(self._done))
            return number, self._done.pop(number)

    def each(self, tasks: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes | Lost]]:
        """Answers in the order in which they come; few of the tasks are held at a time."""
        source, waiting = iter(tasks), 0
        while True:
            more = dict(islice(source, 4 * len(self._workers) - waiting))
            self.put(more)
            waiting += len(more)
            if not waiting:
                return
            yield self.take_any()
            waiting -= 1

    def forget(self) -> None:
        """Drop what was queued and wait for what is in hand."""
        with self._state:
            for number in self._queue:
                del self._messages[number]
            self._queue.clear()
            self._state.wait_for(lambda: self._failure or not self._messages)
            self._done.clear()

    def pids(self) -> list[int]:
        """Process numbers of the workers."""
        with self._state:
            return [worker.process.pid for worker in self._workers]

    def close(self) -> None:
        """End all workers; whoever waits for an answer gets an error. May be called twice."""
        if os.getpid() != self._owner:
            return  # a fork of the process that the workers belong to
        with self._state:
            if self._closing:
                return
            self._closing = True
            self._failure = self._failure or SetupError("The processes that read clips were ended meanwhile.")
            self._state.notify_all()
        self._bell.send_bytes(b"!")
        self._thread.join()
        for worker in self._workers:
            worker.end()
        self._bell.close()
        self._listen.close()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except Exception as error:
            with self._state:
                self._failure = self._failure or error
                self._state.notify_all()

    def _turn(self) -> None:
        with self._state:
            for worker in self._workers:
                if self._queue and worker.ready and worker.task is None:
                    number = self._queue.popleft()
                    worker.give(number, self._messages[number])
        connections = {worker.connection: worker for worker in self._workers}
        began_s, patience_s = time.monotonic(), self._patience_s()
        answers = wait([self._listen, *connections], timeout=patience_s)
        stopped_s = time.monotonic() - began_s - patience_s
        if stopped_s > LOOK_S:  # by Ctrl-Z or with its container, and most likely its workers too
            for worker in self._workers:
                worker.since_s += stopped_s + LOOK_S
        for found in answers:
            if found is self._listen:
                self._listen.recv_bytes()
            else:
                self._hear(connections[found])  # type: ignore[index]
        now_s = time.monotonic()
        for worker in list(self._workers):
            if worker.task is not None and now_s - worker.since_s > self.limit_s:
                self._finish(worker.task, Lost(True, f"took longer than {self.limit_s:g} s"))
                self._replace(worker, worker.end())
            elif not worker.ready and now_s - worker.since_s > START_S:
                raise SetupError(f"A process that reads clips did not start within {START_S:g} s. Try --workers 0")

    def _patience_s(self) -> float:
        """Until the first limit is reached, or the next look."""
        now_s = time.monotonic()
        running = [worker for worker in self._workers if worker.task is not None or not worker.ready]
        limits = [worker.since_s + (self.limit_s if worker.ready else START_S) for worker in running]
        return min(LOOK_S, max(0.0, min(limits) - now_s)) + 0.01 if limits else 60.0

    def _hear(self, worker: Worker) -> None:
        try:
            message = worker.connection.recv_bytes()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if not worker.ready:
            worker.ready, self._false_starts = True, 0
        elif worker.task is not None:
            number, worker.task = worker.task, None
            worker.forget_errors()
            self._finish(number, message)

    def _finish(self, number: int, answer: bytes | Lost) -> None:
        with self._state:
            del self._messages[number]
            self._deaths.pop(number, None)
            self._done[number] = answer
            self._state.notify_all()

    def _bury(self, worker: Worker) -> None:
        """A worker died: the first time its task is given out again, the second time the task is the reason."""
        # A crash closes the connection a moment before the process is over.
        number, lost = worker.task, worker.end(0.5)
        self._replace(worker, lost)
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts == FALSE_STARTS:
                raise SetupError(f"Processes that read clips do not start ({lost.how}). {lost.said} Try --workers 0")
        elif number is not None:
            self._deaths[number] = self._deaths.get(number, 0) + 1
            if self._deaths[number] == DEATHS:
                self._finish(number, lost)
                return
            with self._state:
                self._queue.appendleft(number)

    def _replace(self, worker: Worker, lost: Lost) -> None:
        try:
            fresh = start(self.module, self.hello, self.fds)
        except SetupError as error:
            raise SetupError(f"{error} (It was to replace one that ended: {lost.how}.)") from error
        with self._state:
            self.restarts += 1
            self._workers[self._workers.index(worker)] = fresh
