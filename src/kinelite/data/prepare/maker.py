"""Preparing one clip; as a program, for `kinelite.data.prepare.job`."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kinelite.data.clip import ClipError
from kinelite.data.crew import Lost
from kinelite.data.manifest import Row
from kinelite.data.messages import decode, encode
from kinelite.data.prepare.store import Entry, Settings
from kinelite.data.serve import serve
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
    """Size of an original, of images that of their folder; 0 of one that is not there."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    if not os.path.isdir(folder) or (folder != path and "%" not in os.path.basename(path)):
        return 0
    return _folder_bytes(folder, os.stat(folder).st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _folder_bytes(folder: str, mtime_ns: int) -> int:
    """Of its files; kept, since one folder may hold the images of hundreds of parts, which follow one another."""
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())


def make(task: Task) -> Entry:
    """Prepare one clip; the file appears complete or not at all. Raises SetupError when it cannot be written."""
    from kinelite.data.prepare.pack import pack

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


def start(_: bytes) -> Callable[[bytes], bytes]:
    """What answers the tasks of `kinelite.data.prepare.job`."""
    import cv2

    cv2.setNumThreads(0)

    def answer(message: bytes) -> bytes:
        try:
            return encode(Outcome(make(decode(message, Task))))
        except SetupError as error:
            return encode(Outcome(setup=str(error)))

    return answer


def lost_entry(task: Task, lost: Lost) -> Entry:
    """The entry of a clip that took its workers down; removes what they had written."""
    with contextlib.suppress(OSError):
        Path(task.target).with_name(task.temporary).unlink(missing_ok=True)
    why = lost.how if lost.late else f"ended the process that decoded it ({lost.how})"
    return Entry(task.clip, source_bytes=source_bytes(task.row.path), error=why)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], start)
