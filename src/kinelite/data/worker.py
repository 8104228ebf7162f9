"""A process that reads clips into memory shared with the trainer, for `kinelite.data.pool.Pool`.

It imports no PyTorch and holds no manifest: rows come one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kinelite.data.dataset import Key, Reading, read_sample
from kinelite.data.manifest import Row
from kinelite.data.messages import decode, encode
from kinelite.data.serve import serve
from kinelite.data.stages import take_seconds


@dataclass(frozen=True)
class Task:
    """One clip to read, and the slot of the shared memory that its frames go to."""

    slot: int
    epoch: int
    index: int
    row: Row


@dataclass(frozen=True)
class Answer:
    """What became of a task; the frames are in its slot when there is no problem."""

    problem: str | None = None
    warnings: tuple[str, ...] = ()
    stage_s: dict[str, float] = field(default_factory=dict)


def start(memory: str) -> Callable[[bytes], Callable[[bytes], bytes]]:
    """What begins a worker whose shared memory is the open file ``memory``."""

    def begin(hello: bytes) -> Callable[[bytes], bytes]:
        import cv2

        from kinelite.data.decode import use_decoder

        cv2.setNumThreads(0)
        reading = decode(hello, Reading)
        use_decoder(reading.decoder)
        slots = np.memmap(f"/dev/fd/{memory}", np.uint8, "r+").reshape(-1, *reading.shape)

        def answer(message: bytes) -> bytes:
            task = decode(message, Task)
            sample = read_sample(task.row, Key(task.epoch, task.index), reading, slots[task.slot])
            return encode(Answer(sample.problem, sample.warnings, take_seconds()))

        return answer

    return begin


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], start(sys.argv[3]))
