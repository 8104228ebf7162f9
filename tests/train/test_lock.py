"""One process per run folder, also right after a kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from kinelite.errors import UsageError
from kinelite.train.lock import locked


def hold(folder: Path, helper: bool) -> tuple[int, int]:
    """A process that holds the lock, and (with ``helper``) a child of it, as the processes that decode are."""
    inlet, outlet = os.pipe()
    trainer = os.fork()
    if trainer == 0:
        with locked(folder):
            child = os.fork() if helper else -1
            if child:
                os.write(outlet, f"{child}\n".encode())
            signal.pause()
        os._exit(0)
    child = int(os.read(inlet, 20))
    os.close(inlet)
    os.close(outlet)
    return trainer, child


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    trainer, _ = hold(tmp_path, helper=False)
    try:
        with pytest.raises(UsageError, match="Another process is training"), locked(tmp_path):
            pass
    finally:
        kill(trainer)
    with locked(tmp_path):
        pass


def test_processes_that_decode_do_not_keep_the_lock_of_a_killed_run(tmp_path: Path) -> None:
    trainer, decoder = hold(tmp_path, helper=True)
    kill(trainer)
    try:
        os.kill(decoder, 0)  # it lives on, until it notices
        with locked(tmp_path):
            pass
    finally:
        os.kill(decoder, signal.SIGKILL)
