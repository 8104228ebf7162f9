"""Preparing a clip for trial; as a program, so that a file that hangs or crashes a decoder costs that file alone."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from kinelite.data.clip import ClipError
from kinelite.data.crew import Crew, Lost
from kinelite.data.manifest import Row
from kinelite.data.messages import decode, encode
from kinelite.data.prepare.store import Settings
from kinelite.data.serve import serve

LONGEST_S = 10.0
"""Of longer clips so many seconds from the middle stand for the whole."""
LIMIT_S = 60.0
"""Seconds after which a trial is given up, whatever is allowed for the whole clip."""


@dataclass(frozen=True)
class Trial:
    """What a clip became, or why it did not become anything."""

    bytes: float = 0.0
    raw_bytes: float = 0.0
    """As RGB."""
    original_bytes: float = 0.0
    seconds: float = 0.0
    """Of one process."""
    error: str = ""


@dataclass(frozen=True)
class Ask:
    """A clip to try."""

    row: Row
    settings: Settings


Try = Callable[[Row, Settings], Trial]


def trial(row: Row, settings: Settings) -> Trial:
    """Prepare a clip, or the middle of a long one, into memory."""
    from kinelite.data.decode import probe, span
    from kinelite.data.prepare.pack import pack

    began = time.perf_counter()
    try:
        info = probe(row.path)
        start_s, end_s = span(info, row.start_s, row.end_s)
        part, times = row, 1.0
        # Of a fixed number of frames the bytes and seconds do not grow with the length.
        if settings.frames is None and end_s - start_s > 2 * LONGEST_S:
            middle_s, times = 0.5 * (start_s + end_s), (end_s - start_s) / LONGEST_S
            part = replace(row, start_s=middle_s - 0.5 * LONGEST_S, end_s=middle_s + 0.5 * LONGEST_S)
        packed = pack(part, settings, io.BytesIO())
        raw = 3 * packed.frames * packed.width * packed.height
        share = min(1.0, (end_s - start_s) / info.seconds)
        original = share * _file_bytes(row.path, info.container == "images")
    except ClipError as error:
        return Trial(error=error.reason)
    except MemoryError:
        return Trial(error="there is not enough memory to decode it")
    return Trial(times * packed.bytes, times * raw, original, times * (time.perf_counter() - began))


@contextlib.contextmanager
def guarded(limit_s: float) -> Iterator[Try]:
    """`trial` in a process of its own. A clip that is lost once is not tried again."""
    lost: dict[Row, Trial] = {}
    numbers = itertools.count()
    with contextlib.closing(Crew("kinelite.data.prepare.trial", b"", 1, min(limit_s, LIMIT_S))) as crew:

        def attempt(row: Row, settings: Settings) -> Trial:
            if row in lost:
                return lost[row]
            number = next(numbers)
            crew.put({number: encode(Ask(row, settings))})
            answer = crew.take([number])[0]
            if isinstance(answer, Lost):
                why = answer.how if answer.late else f"ended the process that decoded it ({answer.how})"
                lost[row] = Trial(error=why)
                return lost[row]
            return decode(answer, Trial)

        yield attempt


def _file_bytes(path: str, images: bool) -> int:
    """Of images, those of their folder."""
    if not images:
        return os.path.getsize(path)
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())


def start(_: bytes) -> Callable[[bytes], bytes]:
    """What answers `guarded`."""
    import cv2

    cv2.setNumThreads(0)

    def answer(message: bytes) -> bytes:
        ask = decode(message, Ask)
        return encode(trial(ask.row, ask.settings))

    return answer


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], start)
