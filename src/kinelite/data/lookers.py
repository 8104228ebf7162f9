"""Many looks at once, each in a process of its own kind: a file that hangs or crashes a decoder costs that process."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from kinelite.data.look import Depth, Look, look
from kinelite.data.manifest import Row
from kinelite.errors import SetupError

LIMIT_S = 60.0
"""Seconds that one clip may take."""
START_S = 120.0
"""Seconds that a process may take to start on a busy machine."""


def look_at(rows: Sequence[Row], depth: Depth, workers: int, limit_s: float = LIMIT_S) -> Iterator[tuple[int, Look]]:
    """(place in ``rows``, what was found) of each clip, in the order in which the looks end.

    ``workers``: processes; 0 looks in this one, without a limit. Raises SetupError where processes cannot start.
    """
    if workers <= 0:
        yield from ((number, look(row, depth)) for number, row in enumerate(rows))
        return
    crew = [Looker(limit_s) for _ in range(min(workers, len(rows)))]
    todo, lock, found = iter(enumerate(rows)), threading.Lock(), queue.SimpleQueue[Any]()

    def run(looker: Looker) -> None:
        try:
            while True:
                with lock:
                    number, row = next(todo)
                found.put((number, looker.look(row, depth)))
        except StopIteration:
            pass
        except Exception as error:  # raised again in the thread that waits
            found.put(error)

    threads = [threading.Thread(target=run, args=(looker,), daemon=True) for looker in crew]
    try:
        for thread in threads:
            thread.start()
        for _ in rows:
            result = found.get()
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        with lock:
            todo = itertools.chain()
        for looker in crew:
            looker.stop()
        for thread in threads:
            thread.join()
        for looker in crew:
            looker.close()


class Looker:
    """A process that looks at clips one by one, and the next one when that ends."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._process: subprocess.Popen[str] | None = None
        self._late = self._closed = False

    def look(self, row: Row, depth: Depth) -> Look:
        """As `kinelite.data.look.look`; a process that ends is replaced, and its clip is looked at once more."""
        ask = json.dumps({"path": row.path, "start_s": row.start_s, "end_s": row.end_s, "depth": depth})
        for _ in range(2):
            process = self._process or self._start()
            answer = self._ask(process, ask, self.limit_s)
            if self._closed:
                break
            if answer:
                return msgspec.convert(json.loads(answer), Look)
            code = self._end(process)
            if self._late:
                return Look(((f"takes longer than {self.limit_s:g} s to look at", "error"),), lost="late")
        if self._closed:
            return Look((), lost="killed")
        return Look(((f"ends the program that decodes it ({_how(code)})", "error"),), lost="killed")

    def stop(self) -> None:
        """End the process, whatever it does; called while another thread waits for it."""
        self._closed = True
        if process := self._process:
            process.kill()

    def close(self) -> None:
        """End the process and what leads to it."""
        if self._process:
            self._end(self._process)

    def _start(self) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kinelite.data.look"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                text=True,
                # Ctrl-C is for the check, which then ends its processes.
                start_new_session=True,
            )
        except OSError as error:
            raise SetupError(f"A process that decodes cannot start: {error.strerror}. Try --workers 0") from error
        if self._closed:
            self._process.kill()
        elif not self._ask(self._process, "", START_S) and not self._closed:
            raise SetupError("Processes that decode end before they begin. Try --workers 0")
        return self._process

    def _ask(self, process: subprocess.Popen[str], text: str, limit_s: float) -> str:
        """The answer, '' when the process ended or was ended because it took too long."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._late = False
        timer = threading.Timer(limit_s, self._stop, (process,))
        timer.start()
        try:
            if text:
                process.stdin.write(text + "\n")
                process.stdin.flush()
            return process.stdout.readline()
        except (OSError, ValueError):  # it is gone, or was closed from the other thread
            return ""
        finally:
            timer.cancel()

    def _stop(self, process: subprocess.Popen[str]) -> None:
        self._late = True
        process.kill()

    def _end(self, process: subprocess.Popen[str]) -> int:
        self._process = None
        try:
            # A crash closes the pipe a moment before the process is over.
            return process.wait(0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]


def _how(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"
