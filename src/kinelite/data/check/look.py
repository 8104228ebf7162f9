"""One look at one clip: whether it can be used, and what it is.

As a program it answers `kinelite.data.check.lookers`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import numpy as np
from jaxtyping import Float64

from kinelite.data.clip import Clip, ClipError, ClipInfo
from kinelite.data.decode import DECODERS, decode, probe, reader, span
from kinelite.data.manifest import Row
from kinelite.data.messages import decode as decoded_message
from kinelite.data.messages import encode
from kinelite.data.readers.probe import opened
from kinelite.data.serve import serve

Depth = Literal["facts", "ends", "full"]
"""facts: packets only. ends: also the first, middle and last frame. full: also every other frame."""
Level = Literal["error", "note"]

FEW_FRAMES = 8
SLACK_S = 0.5
"""Annotations are rounded, and converting a file's frame rate moves its end: so much past the end is no mistake."""
MISSING_SHARE = 0.1
"""Share of a clip's frames that may be missing before it counts as broken: decoders drop some at either end."""
CHUNK = 1024
"""Frames decoded at once. Each chunk starts at a keyframe before it, and holds a kilobyte per frame."""
SMALL_PIXELS = 16


class Facts(msgspec.Struct, frozen=True):
    """What a clip is, from its packets. A part of a file has the part's length and the file's other properties."""

    codec: str
    container: str
    width: int
    height: int
    fps: float
    seconds: float
    frames: int


class Ask(msgspec.Struct, frozen=True):
    """A clip to look at, and how closely."""

    path: str
    start_s: float | None
    end_s: float | None
    depth: Depth


class Look(msgspec.Struct, frozen=True):
    """What was found: reasons with their level, and the facts, where the file gave any."""

    problems: tuple[tuple[str, Level], ...]
    facts: Facts | None = None
    lost: str = ""
    """The process that looked was 'killed' by the clip or was stopped because it was 'late'; empty when it answered."""


def look(row: Row, depth: Depth) -> Look:
    """Look at a clip; what goes wrong is part of the answer. Frames are decoded at 16 pixels."""
    found: list[tuple[str, Level]] = []
    facts = None
    try:
        info = probe(row.path)
        start_s, end_s = span(info, row.start_s, row.end_s)
        frames = round((end_s - start_s) * info.fps)
        facts = Facts(info.codec, info.container, info.width, info.height, info.fps, end_s - start_s, frames)
        found += _length(row, info, frames) + _cut_off(info)
        if depth != "facts":
            found += _decoding(info, start_s, end_s, depth)
    except ClipError as error:
        found.append((error.reason, "error"))
    except Exception as error:  # a reader's own mistake on an odd file must not end the check of all others
        found.append((f"cannot be read ({type(error).__name__}: {error})", "error"))
    return Look(tuple(found), facts)


def _length(row: Row, info: ClipInfo, frames: int) -> list[tuple[str, Level]]:
    found: list[tuple[str, Level]] = []
    if row.end_s is not None and row.end_s > info.end_s + SLACK_S:
        found.append((f"the part ends at {row.end_s:g} s, the file at {info.end_s:g} s", "error"))
    if frames < FEW_FRAMES:
        found.append((f"short: frames will repeat, it has only {frames}", "note"))
    return found


def _cut_off(info: ClipInfo) -> list[tuple[str, Level]]:
    """A note about a video whose header announces far more than there is, as after a download that broke off."""
    if reader(info.path).__name__.rpartition(".")[2] not in DECODERS.values():  # type: ignore[attr-defined]
        return []
    with opened(info.path) as container:
        stream = container.streams[info.stream]
        announced = [stream.frames / info.fps, float((stream.duration or 0) * (stream.time_base or 0))]
        announced += [_clock_s(text) for name, text in stream.metadata.items() if name.startswith("DURATION")]
    longest_s = max(announced)
    # Headers are off by a few frames in many good files.
    if longest_s - info.seconds <= max(1.0, MISSING_SHARE * longest_s):
        return []
    return [(f"cut off? Its header announces {longest_s:.2f} s, and there are {info.seconds:.2f} s", "note")]


def _clock_s(text: str) -> float:
    """Seconds of '00:00:10.333000000', as Matroska writes it; 0 for anything else."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text.strip())
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0


def _decoding(info: ClipInfo, start_s: float, end_s: float, depth: Depth) -> list[tuple[str, Level]]:
    """Raises ClipError when decoding breaks off."""
    last = _decoded(info, np.array([start_s, 0.5 * (start_s + end_s), end_s])).pts_s[-1]
    # A reader shows the last frame of a file that ends early; that is fine for rounding and not for half a clip.
    if end_s - last > max(1.0, MISSING_SHARE * (end_s - start_s)) + info.period_s:
        return [(f"no frame can be decoded after {last:.3f} s, of {end_s:.3f} s", "error")]
    return _every_frame(info, start_s, end_s) if depth == "full" else []


def _every_frame(info: ClipInfo, start_s: float, end_s: float) -> list[tuple[str, Level]]:
    announced = shown = 0
    for times_s in _frame_times(info, start_s, end_s):
        announced += len(times_s)
        shown += len(np.unique(_decoded(info, times_s).pts_s))
    missing = announced - shown
    if missing <= max(2, 0.01 * announced):
        return []
    level: Level = "error" if missing > MISSING_SHARE * announced else "note"
    return [(f"{missing} of {announced} frames cannot be decoded; others stand in for them", level)]


def _frame_times(info: ClipInfo, start_s: float, end_s: float) -> Iterator[Float64[np.ndarray, " t"]]:
    """Presentation times of the frames that begin within a part, in chunks."""
    if info.pts is None:
        count = max(1, round((end_s - start_s) * info.fps))
        times_s = start_s + np.arange(count) / info.fps
    else:
        times_s = info.pts * float(info.time_base)
        times_s = times_s[(times_s >= start_s - 1e-6) & (times_s < end_s)]
    for first in range(0, len(times_s), CHUNK):
        yield times_s[first : first + CHUNK]


def _decoded(info: ClipInfo, times_s: Float64[np.ndarray, " t"]) -> Clip:
    return decode(info.path, times_s, info, short_side=SMALL_PIXELS)


def start(_: bytes) -> Callable[[bytes], bytes]:
    """What answers the asks of `kinelite.data.check.lookers`."""

    def answer(message: bytes) -> bytes:
        ask = decoded_message(message, Ask)
        return encode(look(Row(ask.path, (), "", ask.start_s, ask.end_s), ask.depth))

    return answer


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], start)
