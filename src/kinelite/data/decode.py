"""Frames of a clip at given presentation times, whatever it is kept in: a video file, a folder of images, a store.

The frame at time t is the one on display then: the last whose time is not after t, or the first frame when t is before
it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from kinelite.data.clip import Clip, ClipError, ClipInfo, ClipWarning, DamagedClip, PathLike
from kinelite.data.sampling import dense_times, sparse_times
from kinelite.data.sink import Sink, Whole
from kinelite.data.stages import stage
from kinelite.errors import UsageError
from kinelite.types import Sampling

READERS = ("packed", "images", "video")
"""Modules of `kinelite.data.readers`, asked in this order whether they read a path; the last one takes what is left."""
DECODERS = {"pyav": "video", "torchcodec": "torchcodec_reader"}
"""What can decode video files -> the module that does."""
_in_use = "pyav"

ChooseTimes = Callable[[float, float, float], Float64[np.ndarray, " t"]]
"""(beginning, end, time per frame) of a clip in seconds -> the times that are wanted."""

__all__ = [
    "Clip",
    "ClipError",
    "ClipInfo",
    "ClipWarning",
    "DamagedClip",
    "decode",
    "decoding_with",
    "probe",
    "read_clip",
    "read_part",
    "use_decoder",
]


@runtime_checkable
class Reader(Protocol):
    """What a module of `READERS` provides."""

    def handles(self, name: str) -> bool:
        """Whether it reads this path. Must not open videos: it is asked for each clip."""
        ...

    def probe(self, path: PathLike) -> ClipInfo:
        """What ``path`` holds; cached until it changes. Raises ClipError."""
        ...

    def decode(
        self, info: ClipInfo, times_s: Float64[np.ndarray, " t"], sink: Sink, short_side: int | None = None
    ) -> Float64[np.ndarray, " t"]:
        """The frames on display at ``times_s`` into ``sink``; their presentation times in seconds.

        Each is decoded and put once, whatever order the times are in, and only the current one is held. Raises
        ClipError and DamagedClip.
        """
        ...


def reader(path: PathLike) -> Reader:
    """The module that reads ``path``."""
    name = os.fspath(path)
    for module in READERS[:-1]:
        found: Reader = importlib.import_module(f"kinelite.data.readers.{module}")  # type: ignore[assignment]
        if found.handles(name):
            return found
    return importlib.import_module(f"kinelite.data.readers.{DECODERS[_in_use]}")  # type: ignore[return-value]


def use_decoder(name: str) -> None:
    """Let ``name`` (pyav or torchcodec) decode video files in this process from now on.

    Raises UsageError for another name, and SetupError when TorchCodec cannot be used.
    """
    global _in_use
    if name not in DECODERS:
        raise UsageError(f"Unknown decoder '{name}'. Allowed: {', '.join(DECODERS)}.")
    if name == "torchcodec":
        importlib.import_module("kinelite.data.readers.torchcodec_reader").require()
    _in_use = name


def decoder_in_use() -> str:
    """What decodes video files in this process: pyav, unless `use_decoder` said otherwise."""
    return _in_use


@contextlib.contextmanager
def decoding_with(name: str) -> Iterator[None]:
    """`use_decoder` while it lasts."""
    before = decoder_in_use()
    use_decoder(name)
    try:
        yield
    finally:
        use_decoder(before)


def probe(path: PathLike) -> ClipInfo:
    """What ``path`` holds: times, frame rate, size, codec. Cached until the file changes. Raises ClipError."""
    with stage("open"):
        return reader(path).probe(path)


def decode(
    path: PathLike,
    times_s: Float64[np.ndarray, " t"],
    info: ClipInfo | None = None,
    *,
    short_side: int | None = None,
) -> Clip:
    """The frames on display at ``times_s`` (any order, repeats allowed), each decoded and converted once.

    A time up to a millisecond before a frame counts as that frame's, because stored times are rounded. ``short_side``
    shrinks larger frames. Raises ClipError when no frame can be decoded, DamagedClip when decoding breaks off before
    the last time; a file that simply ends earlier shows its last frame.
    """
    whole = Whole()
    pts_s = decode_into(whole, path, times_s, info, short_side)
    return Clip(whole.channels_first, pts_s, os.fspath(path))


def decode_into(
    sink: Sink, path: PathLike, times_s: Float64[np.ndarray, " t"], info: ClipInfo | None, short_side: int | None
) -> Float64[np.ndarray, " t"]:
    """As `decode`, but frames go to ``sink`` one by one; returns the presentation time of each in seconds."""
    if not len(times_s) or not np.isfinite(times_s).all():
        raise UsageError(f"Times to decode of {path}: give one or more finite numbers.")
    found = reader(path)
    info = info or found.probe(path)
    try:
        pts_s = found.decode(info, times_s, sink, short_side)
        sink.end()
    except MemoryError as error:  # a damaged header may claim any size
        size = f"{len(times_s)} frames of {info.width} x {info.height}"
        raise ClipError(path, f"does not fit into memory ({size} pixels)") from error
    return pts_s


def read_part(
    path: PathLike,
    choose: ChooseTimes,
    sink: Sink,
    start_s: float | None = None,
    end_s: float | None = None,
    short_side: int | None = None,
) -> Float64[np.ndarray, " t"]:
    """Frames of a clip, or of its part between ``start_s`` and ``end_s``, at the times that ``choose`` names.

    They go to ``sink``; returns their presentation times in seconds. Of a file that is damaged further on, the part
    that decodes is sampled instead, with a ClipWarning that names it. Raises ClipError when nothing can be decoded or
    the part lies outside of the file.
    """
    info = probe(path)
    start, end = span(info, start_s, end_s)
    times_s = choose(start, end, info.period_s)
    try:
        return decode_into(sink, path, times_s, info, short_side)
    except DamagedClip as damage:
        good_end = min(end, damage.last_good_s + info.period_s)
        if good_end <= start:
            raise
        text = f"{damage} Its frames are taken from {start:.3f} s to {good_end:.3f} s instead of {end:.3f} s."
        warnings.warn(text, ClipWarning, stacklevel=2)
        # A window longer than the good part ends at its end, which belongs to the frame after the last good one.
        times_s = np.minimum(choose(start, good_end, info.period_s), max(start, damage.last_good_s))
        return decode_into(sink, path, times_s, info, short_side)


def read_clip(
    path: PathLike,
    frames: int = 32,
    *,
    sampling: Sampling = "sparse",
    stride: int = 2,
    start_s: float | None = None,
    end_s: float | None = None,
    rng: np.random.Generator | None = None,
    short_side: int | None = None,
) -> Clip:
    """``frames`` frames of a clip, or of its part between ``start_s`` and ``end_s``, sampled sparsely or densely.

    ``stride`` is in frames of the file. Random places when ``rng`` is given, else the middle ones. Where fewer frames
    exist than asked for, frames repeat. Damaged files and errors as in `read_part`.
    """

    def choose(start: float, end: float, frame_s: float) -> Float64[np.ndarray, " t"]:
        if sampling == "sparse":
            return sparse_times(start, end, frames, rng)
        return dense_times(start, end, frames, stride * frame_s, rng)

    whole = Whole()
    pts_s = read_part(path, choose, whole, start_s, end_s, short_side)
    return Clip(whole.channels_first, pts_s, os.fspath(path))


def span(info: ClipInfo, start_s: float | None, end_s: float | None) -> tuple[float, float]:
    """Beginning and end in seconds of a part of a file, cut to what the file holds; ClipError if that is nothing."""
    start = info.start_s if start_s is None else max(info.start_s, start_s)
    end = info.end_s if end_s is None else min(info.end_s, end_s)
    if start >= end:
        asked = f"{info.start_s if start_s is None else start_s:g} s to {info.end_s if end_s is None else end_s:g} s"
        raise ClipError(info.path, f"nothing from {asked}: the file spans {info.start_s:g} s to {info.end_s:g} s")
    return start, end


def forget() -> None:
    """Drop what is remembered of files, so that the next clip is read as if it were the first time."""
    for name in (*READERS, *DECODERS.values(), "probe"):
        module = sys.modules.get(f"kinelite.data.readers.{name}")
        for value in vars(module).values() if module else ():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
