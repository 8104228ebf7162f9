"""Processes that read clips and survive every file: one that hangs or crashes a decoder costs one clip.

Clips, not batches, are handed out, each to the first worker that is free, by a thread of the trainer that sleeps
otherwise. What a worker does depends on its task alone, so neither their number nor a restart changes a sample.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO

import msgspec
import numpy as np
from jaxtyping import UInt8

from kinelite.data.dataset import Reading
from kinelite.data.worker import Answer, Task
from kinelite.errors import RunError, SetupError

LIMIT_S = 60.0
"""Seconds that one clip may take before its worker is taken to hang."""
START_S = 120.0
"""Seconds that a worker may take to start, on a machine that is busy with everything else."""
FALSE_STARTS = 8
"""So many workers in a row that end before they are ready mean that none ever will be."""
DEATHS = 2
"""A worker may be killed for reasons of its own; a clip on which so many die is the reason itself."""


@dataclass
class _Worker:
    process: subprocess.Popen
    connection: Connection
    errors: IO[bytes]
    ready: bool = False
    task: Task | None = None
    since_s: float = field(default_factory=time.monotonic)

    def give(self, task: Task) -> None:
        self.task, self.since_s = task, time.monotonic()
        # One that has died takes nothing; its connection says so at the next look.
        with contextlib.suppress(OSError):
            self.connection.send_bytes(msgspec.msgpack.encode(task))

    def end(self) -> str:
        """Kill it, and what it said last on its standard error."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace").strip()
        self.errors.close()
        return text[-2000:]


class Crew:
    """``workers`` processes that fill ``slots`` places of shared memory with clips, read as ``reading`` says.

    Raises SetupError where processes cannot start or share memory.
    """

    def __init__(self, reading: Reading, slots: int, workers: int, limit_s: float = LIMIT_S) -> None:
        if os.name != "posix":
            raise SetupError("Workers need Linux or macOS. Read the clips in the training process: --workers 0")
        self.reading, self.limit_s = reading, limit_s
        self.restarts = 0
        self._memory, self._slots = _shared(slots, reading)
        self._state = threading.Condition()
        self._queue: deque[Task] = deque()
        self._done: dict[int, Answer] = {}
        self._deaths: dict[int, int] = {}
        self._false_starts = 0
        self._failure: Exception | None = None
        self._closing = False
        self._bell, self._listen = Pipe()
        self._workers = [self._start() for _ in range(workers)]
        self._thread = threading.Thread(target=self._run, name="clip workers", daemon=True)
        self._thread.start()

    def read(self, tasks: Sequence[Task]) -> None:
        """Queue tasks; their numbers and slots must not be in use."""
        with self._state:
            self._queue.extend(tasks)
        self._bell.send_bytes(b"!")

    def answers(self, tasks: Sequence[Task]) -> list[Answer]:
        """Wait for these tasks. Raises RunError or SetupError when the workers cannot go on."""
        with self._state:
            self._state.wait_for(lambda: self._failure or all(task.number in self._done for task in tasks))
            if self._failure:
                raise self._failure
            return [self._done.pop(task.number) for task in tasks]

    def forget(self) -> None:
        """Drop what was queued and wait for what is being read, so that all slots are free."""
        with self._state:
            self._queue.clear()
            self._state.wait_for(lambda: self._failure or not any(worker.task for worker in self._workers))
            self._done.clear()

    def slot(self, number: int) -> UInt8[np.ndarray, "v c t h w"]:
        """The place that a task's frames went to."""
        return self._slots[number]

    def pids(self) -> list[int]:
        """Process numbers of the workers."""
        with self._state:
            return [worker.process.pid for worker in self._workers]

    def close(self) -> None:
        """End all workers. May be called twice."""
        with self._state:
            if self._closing:
                return
            self._closing = True
        self._bell.send_bytes(b"!")
        self._thread.join()
        for worker in self._workers:
            worker.end()
        self._bell.close()
        self._listen.close()
        self._memory.close()

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        command = [sys.executable, "-m", "kinelite.data.worker", str(theirs.fileno())]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        try:
            process = subprocess.Popen(
                [*command, f"/dev/fd/{self._memory.fileno()}", str(os.getpid())],
                pass_fds=(theirs.fileno(), self._memory.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=environment,
            )
        except OSError as error:
            raise SetupError(f"A process that reads clips cannot start: {error.strerror}. Try --workers 0") from error
        theirs.close()
        connection = Connection(ours.detach())
        connection.send_bytes(msgspec.msgpack.encode(self.reading))
        return _Worker(process, connection, errors)

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except Exception as error:
            with self._state:
                self._failure = error
                self._state.notify_all()

    def _turn(self) -> None:
        with self._state:
            for worker in self._workers:
                if self._queue and worker.ready and worker.task is None:
                    worker.give(self._queue.popleft())
        connections = {worker.connection: worker for worker in self._workers}
        for found in wait([self._listen, *connections], timeout=self._patience_s()):
            if found is self._listen:
                self._listen.recv_bytes()
            else:
                self._hear(connections[found])  # type: ignore[index]
        now_s = time.monotonic()
        for worker in self._workers:
            if worker.task and now_s - worker.since_s > self.limit_s:
                self._give_up(worker, f"took longer than {self.limit_s:g} s and was given up")
            elif not worker.ready and now_s - worker.since_s > START_S:
                raise SetupError(f"A process that reads clips did not start within {START_S:g} s. Try --workers 0")

    def _patience_s(self) -> float:
        """Until the first limit is reached."""
        now_s = time.monotonic()
        limits = [w.since_s + (self.limit_s if w.ready else START_S) for w in self._workers if w.task or not w.ready]
        return max(0.0, min(limits, default=now_s + 60.0) - now_s) + 0.01

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv_bytes()
        except (EOFError, OSError):
            self._bury(worker)
            return
        with self._state:
            if not worker.ready:
                worker.ready, self._false_starts = True, 0
            elif worker.task:
                answer = msgspec.msgpack.decode(message, type=Answer)
                worker.task = None
                self._done[answer.number] = answer
                self._state.notify_all()

    def _bury(self, worker: _Worker) -> None:
        """A worker died: the first time its clip is read again, the second time the clip is the reason."""
        task = worker.task
        if task is None:
            said = self._replace(worker)
            self._false_starts += not worker.ready
            if self._false_starts == FALSE_STARTS:
                raise RunError(f"Processes that read clips do not start: {said or worker.process.returncode}")
            return
        self._deaths[task.number] = self._deaths.get(task.number, 0) + 1
        if self._deaths[task.number] < DEATHS:
            self._replace(worker)
            with self._state:
                self._queue.appendleft(task)
            return
        self._give_up(worker, "ended its reader twice")

    def _give_up(self, worker: _Worker, reason: str) -> None:
        task = worker.task
        said = self._replace(worker)
        if task is None:
            return
        code = worker.process.returncode
        how = f" (signal {signal.Signals(-code).name})" if code < 0 and "twice" in reason else ""
        last = f": {said.splitlines()[-1]}" if said else ""
        with self._state:
            self._done[task.number] = Answer(task.number, f"{task.row.path}: {reason}{how}{last}")
            self._state.notify_all()

    def _replace(self, worker: _Worker) -> str:
        said = worker.end()
        fresh = self._start()
        with self._state:
            self.restarts += 1
            self._workers[self._workers.index(worker)] = fresh
            self._state.notify_all()
        return said


def _shared(slots: int, reading: Reading) -> tuple[IO[bytes], UInt8[np.ndarray, "slots v c t h w"]]:
    """Memory that processes share, as a file without a name: it is gone when the last of them ends, however that is.

    Reserved at once, since a container's small /dev/shm would otherwise end the run by a signal in the middle.
    """
    shape = (slots, *reading.shape)
    size = int(np.prod(shape))
    for folder in ("/dev/shm", tempfile.gettempdir()):
        if not os.access(folder, os.W_OK):
            continue
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the crew
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
