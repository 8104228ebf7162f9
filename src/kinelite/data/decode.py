"""Frames of a file at given presentation times, decoded with PyAV: the right ones, and as few others as possible.

The frame at time t is the one on display then: the last whose time is not after t, or the first frame when t is before
it. Decoders put frames out in presentation order, so that order is trusted and time stamps only where they agree with
it; where they do not (AVI with reordered frames), frame i is at i / fps.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float64, UInt8

from kinelite.data.picker import Picker
from kinelite.data.probe import ClipError, ClipInfo, PathLike, opened, probe
from kinelite.data.sampling import dense_times, sparse_times
from kinelite.errors import UsageError
from kinelite.types import Sampling

SEEK_PAYS_FRAMES = 6
"""A seek has to jump over so many frames; measured on H.264 and MPEG-4, it costs as much as decoding one or two."""
SEEKABLE = ("mov", "matroska", "avi")
"""Containers whose index says where decoding can start. In the others, such as MPEG-TS, a seek is a guess."""
DROPPABLE = frozenset({"h264", "mpeg4", "mpeg2video"})
"""Codecs in which a frame that is marked as no reference is never needed by another one."""

__all__ = ["Clip", "ClipError", "ClipInfo", "ClipWarning", "DamagedClip", "decode", "probe", "read_clip"]


class ClipWarning(UserWarning):
    """A clip was used, but not as the file promised."""


class DamagedClip(ClipError):
    """Decoding broke off before the frames that were asked for. ``last_good_s`` is the time of the last good frame."""

    def __init__(self, path: PathLike, last_good_s: float, reason: str) -> None:
        super().__init__(path, f"is damaged: nothing can be decoded after {last_good_s:.3f} s ({reason})")
        self.last_good_s = last_good_s
        self._cause = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.last_good_s, self._cause)


@dataclass(frozen=True)
class Clip:
    """Decoded frames, RGB, as displayed (rotation applied)."""

    frames: UInt8[np.ndarray, "t c h w"]
    pts_s: Float64[np.ndarray, " t"]
    """Presentation time of each frame in seconds."""
    path: str


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
    """``frames`` frames of a file, or of its part between ``start_s`` and ``end_s``, sampled sparsely or densely.

    ``stride`` is in frames of the file. Random places when ``rng`` is given, else the middle ones. Where fewer frames
    exist than asked for, frames repeat. Of a damaged file the part that decodes is sampled instead, with a
    ClipWarning that names it. Raises ClipError when nothing can be decoded or the part lies outside of the file.
    """
    info = probe(path)
    start, end = span(info, start_s, end_s)
    times = _times(start, end, frames, sampling, stride / info.fps, rng)
    try:
        return decode(path, times, info, short_side=short_side)
    except DamagedClip as damage:
        good_end = damage.last_good_s + info.period_s
        if good_end <= start:
            raise
        text = f"{damage} Its frames are taken from {start:.3f} s to {good_end:.3f} s instead of {end:.3f} s."
        warnings.warn(text, ClipWarning, stacklevel=2)
        times = _times(start, min(end, good_end), frames, sampling, stride / info.fps, rng)
        return decode(path, times, info, short_side=short_side)


def span(info: ClipInfo, start_s: float | None, end_s: float | None) -> tuple[float, float]:
    """Beginning and end in seconds of a part of a file, cut to what the file holds; ClipError if that is nothing."""
    start = info.start_s if start_s is None else max(info.start_s, start_s)
    end = info.end_s if end_s is None else min(info.end_s, end_s)
    if start >= end:
        asked = f"{info.start_s if start_s is None else start_s:g} s to {info.end_s if end_s is None else end_s:g} s"
        raise ClipError(info.path, f"nothing from {asked}: the file spans {info.start_s:g} s to {info.end_s:g} s")
    return start, end


def decode(
    path: PathLike,
    times_s: Float64[np.ndarray, " t"],
    info: ClipInfo | None = None,
    *,
    short_side: int | None = None,
) -> Clip:
    """The frames on display at ``times_s`` (any order, repeats allowed), each decoded and converted once.

    A time up to a millisecond before a frame counts as that frame's, because stored times are rounded. Conversion to
    RGB is PyAV's ``to_ndarray(format="rgb24")``; ``short_side`` shrinks larger frames in the same step. Uses one
    thread and holds only the frames that are asked for. Raises ClipError when no frame can be decoded, DamagedClip
    when decoding breaks off before the last time; a file that simply ends earlier shows its last frame.
    """
    if not len(times_s) or not np.isfinite(times_s).all():
        raise UsageError(f"Times to decode of {path}: give one or more finite numbers.")
    info = info or probe(path)
    order = np.argsort(times_s, kind="stable")
    picker = Picker(info, times_s[order], short_side)
    try:
        _fill(picker, info)
    except _Unordered:
        info = replace(info, counted=True, pts=None)
        picker = Picker(info, times_s[order], short_side)
        _fill(picker, info)
    back = np.argsort(order, kind="stable")
    if picker.frames is None:
        raise ClipError(path, "no frame of it can be decoded")
    straight = bool((np.diff(back) == 1).all())
    return Clip(picker.frames if straight else picker.frames[back], picker.pts_s[back], info.path)


class _Unordered(Exception):
    """Frames came out of the decoder with times that are missing or do not increase."""


class _Overshot(Exception):
    """A seek led behind the frame that it was for, or to nothing that decodes."""


def _fill(picker: Picker, info: ClipInfo) -> None:
    """Fill the picker the quick way; where the file turns out not to allow it, once more without short cuts."""
    may_seek = not info.counted and info.container.startswith(SEEKABLE)
    try:
        _once(picker, info, may_seek=may_seek, may_skip=True)
    except _Overshot:
        _once(picker, info, may_seek=False, may_skip=True)
    except DamagedClip:  # skipped frames hide where exactly the good part ends
        _once(picker, info, may_seek=may_seek, may_skip=False)


def _once(picker: Picker, info: ClipInfo, may_seek: bool, may_skip: bool) -> None:
    picker.restart()
    with opened(info.path) as container:
        _Pass(container, info, picker, may_seek, may_skip).run()


class _Pass:
    """One way through the file, jumping ahead where a keyframe lies far enough in front of the next wanted frame."""

    def __init__(
        self, container: InputContainer, info: ClipInfo, picker: Picker, may_seek: bool, may_skip: bool
    ) -> None:
        self.container, self.info, self.picker, self.may_seek = container, info, picker, may_seek
        self.stream: VideoStream = container.streams[info.stream]  # type: ignore[assignment]
        self.stream.thread_type = "NONE"
        may_skip = may_skip and self.stream.codec_context.name in DROPPABLE
        self.wanted = picker.wanted() if may_skip else None
        self.last: VideoFrame | None = None
        self.last_s = -np.inf
        self.count = 0
        self.jumped = False
        self.not_before = -np.inf
        # A float once: a time base is a Fraction, whose arithmetic took a tenth of a small clip's decoding.
        self.tick_s = float(info.time_base)

    def run(self) -> None:
        self._jump()
        while self.picker.next_s is not None and self._until_next_jump():
            pass
        if self.picker.next_s is None:
            return
        if self.last is not None:
            self.picker.give(self.last, self.last_s, np.inf)
        elif self.jumped:
            raise _Overshot

    def _until_next_jump(self) -> bool:
        """Decode until a jump (True) or the end (False)."""
        for frame in self._decoded():
            self._see(frame)
            if self.picker.next_s is None:
                return False
            if self._jump():
                return True
        return False

    def _decoded(self) -> Iterator[VideoFrame]:
        context = self.stream.codec_context
        try:
            for packet in self.container.demux(self.stream):
                if self.not_before == np.inf:
                    if not packet.is_keyframe or packet.pts is None:
                        continue
                    self.not_before = packet.pts * self.tick_s
                if self.wanted is not None:
                    context.skip_frame = "DEFAULT" if packet.pts in self.wanted else "NONREF"
                yield from packet.decode()
        except (FFmpegError, OSError) as error:
            if isinstance(error, EndOfFile):
                return
            reason = getattr(error, "strerror", None) or str(error)
            if self.last is None and self.jumped:
                raise _Overshot from error
            if self.last is None:
                raise ClipError(self.info.path, f"no frame of it can be decoded ({reason})") from error
            raise DamagedClip(self.info.path, self.last_s, reason) from error

    def _see(self, frame: VideoFrame) -> None:
        shown_s = self._time_s(frame)
        # After a jump into an open group of pictures, frames before the keyframe lack their references.
        if shown_s < self.not_before:
            return
        wanted_s = self.picker.next_s
        if self.last is not None:
            self.picker.give(self.last, self.last_s, shown_s)
        elif wanted_s is not None and wanted_s < shown_s and self.jumped:
            raise _Overshot
        self.last, self.last_s = frame, shown_s
        self.picker.give(frame, shown_s, self._shown_until_s(frame))

    def _time_s(self, frame: VideoFrame) -> float:
        if self.info.counted:
            self.count += 1
            return self.info.start_s + (self.count - 1) / self.info.fps
        if frame.pts is None:
            raise _Unordered
        shown_s = frame.pts * self.tick_s
        if shown_s <= self.last_s:
            raise _Unordered
        return shown_s

    def _shown_until_s(self, frame: VideoFrame) -> float:
        """When the next frame follows, where that is known: saves decoding it."""
        if self.info.pts is None or frame.pts is None:
            return self.last_s
        after = int(np.searchsorted(self.info.pts, frame.pts, side="right"))
        return np.inf if after == len(self.info.pts) else int(self.info.pts[after]) * self.tick_s

    def _jump(self) -> bool:
        """Seek to the last keyframe before the next wanted time if that saves decoding; whether it was done."""
        next_s, keys = self.picker.next_s, self.info.keyframes_s
        if not self.may_seek or next_s is None or not len(keys):
            return False
        key_s = keys[max(0, int(np.searchsorted(keys, next_s, side="right")) - 1)]
        here_s = max(self.last_s, self.info.start_s)
        if (key_s - here_s) * self.info.fps < SEEK_PAYS_FRAMES:
            return False
        self.container.seek(round(key_s / self.tick_s), stream=self.stream)
        self.last, self.last_s, self.not_before, self.jumped = None, -np.inf, np.inf, True
        return True


def _times(
    start_s: float, end_s: float, frames: int, sampling: Sampling, stride_s: float, rng: np.random.Generator | None
) -> Float64[np.ndarray, " t"]:
    if sampling == "sparse":
        return sparse_times(start_s, end_s, frames, rng)
    return dense_times(start_s, end_s, frames, stride_s, rng)
