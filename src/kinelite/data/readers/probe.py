"""What a video file really holds, read from its packets: headers are often wrong about counts, times and sizes."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from jaxtyping import Int64

from kinelite.data.clip import ClipError, ClipInfo, PathLike
from kinelite.data.readers.avi_order import droppable, places

WHOLE_FILE_BYTES = 64 * 2**20
"""Files up to this size have every packet looked at; of larger ones only the beginning, the index and the end."""
KEPT_BYTES = 8 * 2**20
"""A file of up to this size stays open after probing, with its packets, for the decoding that usually follows."""
LONGEST_TABLE = 20_000
"""Frame times are kept for files of up to so many frames, so that a full cache stays below 200 MB."""


def probe(path: PathLike) -> ClipInfo:
    """What ``path`` holds; one frame is decoded, for its size and rotation. Cached until the file changes.

    Of files above 64 MiB only the beginning, the index and the end are read, so that an hour-long recording takes as
    long as a short one. Raises ClipError.
    """
    name = os.fspath(path)
    try:
        status = os.stat(name)
    except OSError as error:
        raise ClipError(name, f"cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise ClipError(name, f"is {what}, not a video file")
    if status.st_size == 0:
        raise ClipError(name, "is empty (0 bytes)")
    return _probe(name, status.st_mtime_ns, status.st_size)


def opened(path: PathLike) -> InputContainer:
    """The open file, a context manager. FFmpeg's errors about the file as a whole become a ClipError."""
    # The prefix keeps a colon in a file name from being read as a protocol; tags are often not UTF-8.
    try:
        return av.open(f"file:{os.fspath(path)}", metadata_errors="ignore")
    except (FFmpegError, OSError) as error:
        raise ClipError(path, f"is not a video that can be read ({_words(error)})") from error


@dataclass
class LeftOpen:
    """A file as probing leaves it: all packets read, the first ones decoded."""

    info: ClipInfo
    container: InputContainer
    packets: list[av.Packet[VideoStream]]
    fed: int
    """How many of the packets the decoder has had."""
    frames: list[av.VideoFrame]
    """What it gave for them."""


_left = threading.local()


def take_open(info: ClipInfo) -> LeftOpen | None:
    """The file that this thread has probed last, if ``info`` came from that; it is the caller's to close then."""
    found: LeftOpen | None = getattr(_left, "file", None)
    if found is None or found.info is not info:
        return None
    _left.file = None
    return found


def _leave_open(file: LeftOpen) -> None:
    before: LeftOpen | None = getattr(_left, "file", None)
    if before is not None:
        before.container.close()
    _left.file = file


def demuxed(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    """Packets of a stream. PyAV's own generator leaks one when it is dropped before its end, and none when closed."""
    with contextlib.closing(container.demux(stream)) as packets:  # type: ignore[type-var]
        yield from packets


def display(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How a frame is shown: whether to swap height and width, then to flip vertically, then horizontally.

    From the display matrix of the file (ISO/IEC 14496-12, 6.2.2), as FFmpeg's autorotate does.
    """
    # Made here: frame.side_data keeps the frame, and its decoder's buffers, alive until the next garbage collection.
    data = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5].tolist()
    return (True, b < 0, c < 0) if abs(b) > abs(a) else (False, d < 0, a < 0)


@functools.lru_cache(maxsize=1024)
def _probe(path: str, mtime_ns: int, size: int) -> ClipInfo:
    container = opened(path)
    info, left = None, None
    try:
        info, left = _look(path, container, size)
    finally:
        if left is None:
            container.close()
    if left is not None:
        _leave_open(left)
    return info


def _look(path: str, container: InputContainer, size: int) -> tuple[ClipInfo, LeftOpen | None]:
    stream = _largest(container, path)
    try:
        found = _Scan(container, stream, whole=size <= WHOLE_FILE_BYTES, keep=size <= KEPT_BYTES)
    except (FFmpegError, OSError) as error:
        raise ClipError(path, f"cannot be read ({_words(error)})") from error
    if not found.packets:
        raise ClipError(path, "holds a video stream without any frame")
    if not found.frames:
        raise ClipError(path, "no frame of it can be decoded")
    info = found.info(path, container, stream, found.frames[0])
    if found.kept is None:
        return info, None
    return info, LeftOpen(info, container, found.kept, found.fed, found.frames)


def _largest(container: InputContainer, path: str) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise ClipError(path, "has no video stream")
    # FFmpeg has no decoder for the codec that a damaged, or very new, file names.
    streams = [s for s in streams if s.codec_context is not None]
    if not streams:
        raise ClipError(path, "is in a codec that cannot be decoded here")
    return max(streams, key=lambda s: s.codec_context.width * s.codec_context.height)


class _Scan:
    """One pass over the packets of a stream: of the whole file, or of the beginning and the end of a large one."""

    def __init__(self, container: InputContainer, stream: VideoStream, whole: bool, keep: bool = False) -> None:
        self.whole = whole
        self.kept: list[av.Packet[VideoStream]] | None = [] if whole and keep else None
        """All packets; None of a large file, and where the first ones did not decode cleanly."""
        self.fed = 0
        self.frames: list[av.VideoFrame] = []
        """What the first ``fed`` packets gave: the first frame, seldom more."""
        self.packets = 0
        self.missing = 0
        self.indexed = 0
        self.pts: list[int] = []
        self.keys: list[int] = []
        stream.thread_type = "NONE"
        self._read(container, stream, None if whole else 300)
        if not whole:
            self._read_end(container, stream)

    def _read_end(self, container: InputContainer, stream: VideoStream) -> None:
        """The last ten seconds and the index; the rest of the packets where the file has no usable duration."""
        if container.duration is not None and self.pts:
            last_s = (container.duration - (container.start_time or 0)) / 1e6 - 10.0
            container.seek(max(0, int(last_s / float(stream.time_base or 1))), stream=stream)
        self._read(container, stream, None)
        entries = [entry.timestamp for entry in stream.index_entries if entry.is_keyframe]
        # MP4 indexes decoding times: they stand before the presentation times by a constant.
        self.keys = [self.pts[0] + stamp - entries[0] for stamp in entries] if self.pts else []
        self.indexed = len(stream.index_entries)

    def _read(self, container: InputContainer, stream: VideoStream, at_most: int | None) -> None:
        for packet in demuxed(container, stream):
            # MPEG-4 in AVI fills the place of a picture packed into another packet with a byte or none at all.
            if packet.size > 1 and not packet.is_discard:
                self._take(packet)
            if self.kept is not None:
                self.kept.append(packet)
            if not self.frames:
                self._decode(packet)
            if at_most is not None and self.packets >= at_most and self.frames:
                return

    def _decode(self, packet: av.Packet[VideoStream]) -> None:
        self.fed += 1
        try:
            self.frames = packet.decode()
        except FFmpegError:
            self.kept = None

    def _take(self, packet: av.Packet[VideoStream]) -> None:
        self.packets += 1
        if packet.pts is None:
            self.missing += 1
            return
        self.pts.append(packet.pts)
        if packet.is_keyframe and self.whole:
            self.keys.append(packet.pts)

    def info(self, path: str, container: InputContainer, stream: VideoStream, first: av.VideoFrame) -> ClipInfo:
        pts = np.unique(np.array(self.pts, dtype=np.int64))
        base = stream.time_base or Fraction(1, 1000)
        context = stream.codec_context
        # AVI stores no presentation times: with reordered frames FFmpeg passes decoding times off as such.
        reordered = container.format.name == "avi" and context.has_b_frames
        counted = bool(reordered or self.missing or (self.whole and len(pts) < len(self.pts)))
        rate = float(stream.average_rate or stream.guessed_rate or 0) if counted else 0.0
        period = 1 / rate if rate > 0 else _period_s(pts, base, stream)
        start = 0.0 if counted else float(pts[0] * base)
        pictures = self.packets if self.whole or not counted else max(self.packets, self.indexed)
        end = pictures * period if counted else float(pts[-1] * base) + period
        swap, vertical, horizontal = display(first)
        sizes = (first.height, first.width) if swap else (first.width, first.height)
        table = None if counted or not self.whole or len(pts) > LONGEST_TABLE else pts
        keys = np.unique(np.array([] if counted else self.keys, dtype=np.float64)) * float(base)
        return ClipInfo(
            path=path,
            stream=stream.index,
            codec=context.name,
            container=container.format.name,
            packets=self.packets if self.whole else round((end - start) / period),
            start_s=start,
            end_s=end,
            fps=1 / period,
            width=sizes[0],
            height=sizes[1],
            rotation=(90 if horizontal else 270) if swap else (180 if vertical else 0),
            counted=counted,
            time_base=base,
            pts=table,
            order=self._order() if reordered and context.name == "mpeg4" else None,
            keyframes_s=keys,
        )

    def _order(self) -> Int64[np.ndarray, " p"] | None:
        """Places of the packets in the order of display; None where packets and first frame do not bear them out."""
        if self.kept is None:
            return None
        packets = [packet for packet in self.kept if packet.size]
        order = places(bytes(packet) for packet in packets)
        if (order >= 0).sum() != self.packets:
            return None
        is_b, first = droppable(order), int(np.argmax(order == 0))
        # A decoder without delay gives the first frame at once, and another order than the one laid down here.
        due = (
            first
            if is_b[first]
            else next((i for i in range(first + 1, len(order)) if order[i] > 0 and not is_b[i]), -1)
        )
        return order if self.fed == due + 1 else None


def _period_s(pts: Int64[np.ndarray, " n"], base: Fraction, stream: VideoStream) -> float:
    """Mean of the usual steps between frames, gaps left out; of a single frame the nominal rate if believable."""
    if len(pts) > 1:
        steps = np.diff(pts)
        middle = steps[steps <= 1.5 * np.median(steps)]
        return float(middle.mean() * base)
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return 1 / rate if 0 < rate <= 240 else 0.04


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
