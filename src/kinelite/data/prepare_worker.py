"""A process that prepares clips: ``python -m kinelite.data.prepare_worker``, a task per line in, an entry per line out.

A process of its own and not a thread: a decoder that crashes or hangs on a file costs that file and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from kinelite.data.clip import ClipError
from kinelite.data.manifest import Row
from kinelite.data.store import Entry, Settings, from_line, to_line
from kinelite.errors import SetupError
from kinelite.records import explained


@dataclass(frozen=True)
class Task:
    """One clip to prepare."""

    clip: int
    row: Row
    source: str
    target: str
    settings: Settings
    temporary: str
    """Name under which it is written, beside its target."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task; ``setup`` is set when the machine, not the clip, is the reason."""

    entry: Entry | None = None
    setup: str = ""


def source_bytes(path: str) -> int:
    """Size of an original; 0 of one that is not a single file."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


def make(task: Task) -> Entry:
    """Prepare one clip; the file appears complete or not at all. Raises SetupError when it cannot be written."""
    from kinelite.data.pack import pack

    target = Path(task.target)
    temporary = target.with_name(task.temporary)
    size = source_bytes(task.row.path)
    with explained(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb+") as file:
                packed = pack(task.row, task.settings, file, task.source, size)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.replace(temporary, target)
        except ClipError as error:
            return Entry(task.clip, source_bytes=size, error=error.reason)
        except MemoryError:
            return Entry(task.clip, source_bytes=size, error="there is not enough memory to decode it")
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    return Entry(task.clip, packed.bytes, digest, packed.frames, size, packed.cut_s)


class Worker:
    """A process that makes one clip at a time, and is started anew when one takes it down."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker

    def make(self, task: Task) -> Entry:
        """As `make`; a crash and a clip that takes longer than ``limit_s`` are errors of that clip."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()
        timer = threading.Timer(self.limit_s, lambda: (late.set(), process.kill()))
        timer.start()
        try:
            process.stdin.write(to_line(task))
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        finally:
            timer.cancel()
        if self._closed:
            raise SetupError("Stopped.")
        if not line.endswith(b"\n"):
            return self._lost(task, late.is_set())
        outcome = from_line(line, Outcome)
        if outcome.entry is None:
            raise SetupError(outcome.setup)
        return outcome.entry

    def close(self) -> None:
        """End the process for good; `make` of another thread raises SetupError."""
        self._closed = True
        self._end()
        self._errors.close()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise SetupError("Stopped.")
        if self._process is None:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kinelite.data.prepare_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
            )
        return self._process

    def _lost(self, task: Task, late: bool) -> Entry:
        process = self._process
        self._end()
        with contextlib.suppress(OSError):
            Path(task.target).with_name(task.temporary).unlink(missing_ok=True)
        code = process.returncode if process else 0
        why = f"took longer than {self.limit_s:g} s" if late else f"ended the process that decoded it ({_code(code)})"
        return Entry(task.clip, source_bytes=source_bytes(task.row.path), error=why)


def _code(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def main() -> None:
    """Answer tasks until the other side closes the pipe, which it also does when it is killed."""
    # Ctrl-C reaches the whole group; the clip in hand is finished or dropped as the other side decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(0)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up between the answers
    for line in sys.stdin.buffer:
        try:
            outcome = Outcome(make(from_line(line, Task)))
        except SetupError as error:
            outcome = Outcome(setup=str(error))
        out.write(to_line(outcome))
        out.flush()


if __name__ == "__main__":
    main()
