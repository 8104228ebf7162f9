"""Frames of a video file at given presentation times, decoded with PyAV: the right ones, and as few others as possible.

Decoders put frames out in presentation order, so that order is trusted and time stamps only where they agree with it;
where they do not (AVI with reordered frames), frame i is at i / fps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float64

from kinelite.data.clip import ClipError, ClipInfo, DamagedClip
from kinelite.data.readers.avi_order import LineUp
from kinelite.data.readers.picker import Picker
from kinelite.data.readers.probe import LeftOpen, demuxed, opened, probe, take_open
from kinelite.data.sink import Sink
from kinelite.data.stages import stage

SEEK_PAYS_FRAMES = 6
"""A seek has to jump over so many frames; measured on H.264 and MPEG-4, it costs as much as decoding one or two."""
SEEKABLE = ("mov", "matroska", "avi")
"""Containers whose index says where decoding can start. In the others, such as MPEG-TS, a seek is a guess."""
DROPPABLE = frozenset({"h264", "mpeg4", "mpeg2video"})
"""Codecs in which a frame that is marked as no reference is never needed by another one."""

__all__ = ["decode", "handles", "probe"]


def handles(name: str) -> bool:
    """Whatever no other reader takes is a video file."""
    return True


def decode(
    info: ClipInfo, times_s: Float64[np.ndarray, " t"], sink: Sink, short_side: int | None = None
) -> Float64[np.ndarray, " t"]:
    """As `kinelite.data.decode.Reader` has it; conversion to RGB is PyAV's ``to_ndarray(format="rgb24")``.

    ``short_side`` shrinks larger frames in the same step. Uses one thread.
    """
    picker = Picker(info, times_s, short_side, sink)
    try:
        _fill(picker, info)
    except _Unordered:
        info = replace(info, counted=True, pts=None)
        picker = Picker(info, times_s, short_side, sink)
        _fill(picker, info)
    if picker.size is None:
        raise ClipError(info.path, "no frame of it can be decoded")
    return picker.pts_s


class _Unordered(Exception):
    """Frames came out of the decoder with times that are missing or do not increase."""


class _Overshot(Exception):
    """A seek led behind the frame that it was for, or to nothing that decodes."""


class _Misjudged(Exception):
    """Other pictures came out of the decoder than the file's order of display let expect."""


def _fill(picker: Picker, info: ClipInfo) -> None:
    """Fill the picker the quick way; where the file turns out not to allow it, once more without short cuts."""
    may_seek = not info.counted and info.container.startswith(SEEKABLE)
    try:
        _once(picker, info, may_seek=may_seek, may_skip=True, left=take_open(info))
    except _Overshot:
        _once(picker, info, may_seek=False, may_skip=True)
    except (DamagedClip, _Misjudged):  # skipped frames hide where exactly the good part ends
        _once(picker, info, may_seek=may_seek, may_skip=False)


def _once(picker: Picker, info: ClipInfo, may_seek: bool, may_skip: bool, left: LeftOpen | None = None) -> None:
    picker.restart()
    if left is not None:
        with left.container:
            _Pass(left.container, info, picker, may_seek, may_skip, left).run()
        return
    with opened(info.path) as container:
        _Pass(container, info, picker, may_seek, may_skip).run()


class _Pass:
    """One way through the file, jumping ahead where a keyframe lies far enough in front of the next wanted frame."""

    def __init__(
        self,
        container: InputContainer,
        info: ClipInfo,
        picker: Picker,
        may_seek: bool,
        may_skip: bool,
        left: LeftOpen | None = None,
    ) -> None:
        self.container, self.info, self.picker, self.may_seek, self.left = container, info, picker, may_seek, left
        self.stream: VideoStream = container.streams[info.stream]  # type: ignore[assignment]
        if left is None:
            self.stream.thread_type = "NONE"
        self.wanted = picker.wanted()
        may_skip = may_skip and self.stream.codec_context.name in DROPPABLE
        self.skips = may_skip and self.wanted is not None and not info.counted
        self.line_up: LineUp | None = None
        if may_skip and info.order is not None:
            decoded = sum(packet.size > 0 for packet in left.packets[: left.fed]) if left else 0
            self.line_up = LineUp(info.order, self.wanted or {}, decoded)
        self.last: VideoFrame | None = None
        self.last_s = -np.inf
        self.count = 0
        self.jumped = False
        self.not_before = -np.inf
        # A float once: a time base is a Fraction, whose arithmetic took a tenth of a small clip's decoding.
        self.tick_s = float(info.time_base)

    def run(self) -> None:
        self._jump()
        while self.picker.next_s < np.inf and self._until_next_jump():
            pass
        if self.picker.next_s == np.inf:
            return
        if self.line_up is not None and not self.line_up.complete:
            raise _Misjudged
        if self.last is not None:
            self.picker.give(self.last, self.last_s, np.inf)
        elif self.jumped:
            raise _Overshot

    def _until_next_jump(self) -> bool:
        """Decode until a jump (True) or the end (False)."""
        for frame in self._decoded():
            before_s = self.picker.next_s
            self._see(frame)
            if self.picker.next_s == np.inf:
                return False
            # Without a new wish the way to the next one only gets shorter.
            if self.picker.next_s != before_s and self._jump():
                return True
        return False

    def _decoded(self) -> Iterator[VideoFrame]:
        context = self.stream.codec_context
        try:
            if self.left is not None:
                yield from self.left.frames
            for packet in self._packets():
                if self.not_before == np.inf:
                    if not packet.is_keyframe or packet.pts is None:
                        continue
                    self.not_before = packet.pts * self.tick_s
                if self.skips:
                    context.skip_frame = "DEFAULT" if packet.pts in self.wanted else "NONREF"  # type: ignore[operator]
                elif self.line_up is not None and packet.size:
                    context.skip_frame = "DEFAULT" if self.line_up.needed() else "NONREF"
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

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        if self.left is None:
            return demuxed(self.container, self.stream)
        return iter(self.left.packets[self.left.fed :])

    def _see(self, frame: VideoFrame) -> None:
        key, shown_s = self._key_and_time_s(frame)
        # After a jump into an open group of pictures, frames before the keyframe lack their references.
        if shown_s < self.not_before:
            return
        picker = self.picker
        if picker.next_s < shown_s:
            if self.last is not None:
                picker.give(self.last, self.last_s, shown_s)
            elif self.jumped:
                raise _Overshot
        self.last, self.last_s = frame, shown_s
        # Knowing until when a frame is shown saves decoding the next one.
        until_s = shown_s if self.wanted is None else self.wanted.get(key)
        if until_s is not None and picker.next_s < until_s:
            picker.give(frame, shown_s, until_s)

    def _key_and_time_s(self, frame: VideoFrame) -> tuple[int, float]:
        """The frame's key in ``wanted`` and when it is shown."""
        if self.info.counted:
            place = self._place(frame)
            return place, self.info.start_s + place / self.info.fps
        if frame.pts is None:
            raise _Unordered
        shown_s = frame.pts * self.tick_s
        if shown_s <= self.last_s:
            raise _Unordered
        return frame.pts, shown_s

    def _place(self, frame: VideoFrame) -> int:
        self.count += 1
        if self.line_up is None:
            return self.count - 1
        place = self.line_up.place(frame.pict_type == PictureType.B)
        if place is None:
            raise _Misjudged
        return place

    def _jump(self) -> bool:
        """Seek to the last keyframe before the next wanted time if that saves decoding; whether it was done."""
        next_s, keys = self.picker.next_s, self.info.keyframes_s
        if not self.may_seek or next_s == np.inf or not len(keys):
            return False
        key_s = keys[max(0, int(np.searchsorted(keys, next_s, side="right")) - 1)]
        here_s = max(self.last_s, self.info.start_s)
        if (key_s - here_s) * self.info.fps < SEEK_PAYS_FRAMES:
            return False
        with stage("seek"):
            self.container.seek(round(key_s / self.tick_s), stream=self.stream)
        self.last, self.last_s, self.not_before, self.jumped, self.left = None, -np.inf, np.inf, True, None
        return True
