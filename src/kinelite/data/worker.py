"""A process that reads clips for a `kinelite.data.pool.Pool`: ``python -m kinelite.data.worker SOCKET MEMORY PARENT``.

It imports no PyTorch and holds no manifest: rows come one by one, frames go into shared memory. A process of its own
(not a fork, not multiprocessing's spawn) neither inherits the trainer's threads nor imports the user's script again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

import cv2
import msgspec
import numpy as np

from kinelite.data.dataset import Key, Reading, read_sample
from kinelite.data.decode import use_decoder
from kinelite.data.manifest import Row
from kinelite.data.stages import take_seconds


class Task(msgspec.Struct):
    """One clip to read, and the slot of the shared memory that its frames go to."""

    number: int
    slot: int
    epoch: int
    index: int
    row: Row


class Answer(msgspec.Struct):
    """What became of a task."""

    number: int
    problem: str | None = None
    warnings: tuple[str, ...] = ()
    stage_s: dict[str, float] = {}


def main(socket: str, memory: str, parent: str) -> None:
    """Answer tasks until the other side closes the connection."""
    # Stopping is the trainer's business: Ctrl-C and a scheduler's SIGTERM reach the whole group, and the trainer needs
    # its workers to finish the step.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    cv2.setNumThreads(0)
    with Connection(int(socket)) as connection:
        reading = msgspec.msgpack.decode(connection.recv_bytes(), type=Reading)
        use_decoder(reading.decoder)
        slots = np.memmap(memory, np.uint8, "r+").reshape(-1, *reading.shape)
        connection.send_bytes(b"ready")
        while True:
            try:
                task = msgspec.msgpack.decode(connection.recv_bytes(), type=Task)
                connection.send_bytes(msgspec.msgpack.encode(answer(task, reading, slots[task.slot])))
            except (EOFError, BrokenPipeError, ConnectionResetError):
                return


def answer(task: Task, reading: Reading, slot: np.ndarray) -> Answer:
    """Read one clip into its slot."""
    sample = read_sample(task.row, Key(task.epoch, task.index), reading, slot)
    return Answer(task.number, sample.problem, sample.warnings, take_seconds())


def _end_with(parent: int) -> None:
    """Leave when the trainer was killed, even if a decoder hangs at that moment."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
