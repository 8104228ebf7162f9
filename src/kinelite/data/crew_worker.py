"""One process of a `kinelite.data.crew.Crew`: started, spoken to, ended, and what it said when it ended by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import IO

from kinelite.errors import SetupError

ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(2**24), "MALLOC_MMAP_THRESHOLD_": str(2**22)}
"""For glibc: memory of a clip is kept for the next one. Given back and fetched again it costs a fifth of the time of
clips of 64 pixels."""


@dataclass(frozen=True)
class Lost:
    """Why a task has no answer."""

    late: bool
    """It took too long; otherwise its workers died."""
    how: str
    """What ended the last worker, such as 'signal SIGSEGV'."""
    said: str = ""
    """The last line of that worker's standard error."""


@dataclass
class Worker:
    """A process, the task that it is on, and since when."""

    process: subprocess.Popen
    connection: Connection
    errors: IO[bytes]
    ready: bool = False
    task: int | None = None
    since_s: float = field(default_factory=time.monotonic)

    def give(self, number: int, message: bytes) -> None:
        self.task, self.since_s = number, time.monotonic()
        # One that has died takes nothing; its connection says so at the next look.
        with contextlib.suppress(OSError):
            self.connection.send_bytes(message)

    def forget_errors(self) -> None:
        """Drop what it has written to standard error: libjpeg has a line to say about every image that is a bit wrong,
        which would fill the disk in the end, and be taken for the reason when another clip ends the worker."""
        if os.fstat(self.errors.fileno()).st_size:
            self.errors.seek(0)  # its side of the file stands where ours does
            self.errors.truncate()

    def end(self, patience_s: float = 0.0) -> Lost:
        """Kill it if it still lives after ``patience_s``, and say how it ended. May be called twice."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self.process.kill()
        code = self.process.wait()
        self.connection.close()
        lines: list[str] = []
        if not self.errors.closed:
            self.errors.seek(0)
            lines = self.errors.read().decode(errors="replace").strip().splitlines()
            self.errors.close()
        return Lost(False, _how(code), lines[-1][-500:] if lines else "")


def start(module: str, hello: bytes, fds: Sequence[int]) -> Worker:
    """A process of ``module`` with its first message on the way; it inherits ``fds``. Raises SetupError."""
    try:
        with contextlib.ExitStack() as undo:
            ours, theirs = map(undo.enter_context, socket.socketpair())
            errors = undo.enter_context(tempfile.TemporaryFile())
            process = _popen(module, theirs.fileno(), fds, errors)
            theirs.close()
            undo.pop_all()
    except OSError as error:
        raise SetupError(f"A process that reads clips cannot start: {error.strerror}. Try --workers 0") from error
    connection = Connection(ours.detach())
    # One that ended at once takes no message; that is noticed at the first look.
    with contextlib.suppress(OSError):
        connection.send_bytes(hello)
    return Worker(process, connection, errors)


def _popen(module: str, channel: int, fds: Sequence[int], errors: IO[bytes]) -> subprocess.Popen:
    # -P: a random.py in the current folder is none of ours, unless this process would import it too.
    command = [sys.executable, "-P", "-m", module, str(channel), str(os.getpid()), *map(str, fds)]
    return subprocess.Popen(
        command,
        pass_fds=(channel, *fds),
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        env=ALLOCATOR | os.environ | {"PYTHONPATH": _import_path(), "OMP_NUM_THREADS": "1"},
    )


def _import_path() -> str:
    """Where this process finds modules. An empty entry stands for the current folder."""
    try:
        here = os.getcwd()
    except OSError:  # it was removed
        here = ""
    return os.pathsep.join(os.path.join(here, entry) for entry in sys.path if here or entry)


def _how(code: int) -> str:
    try:
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"
