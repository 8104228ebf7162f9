"""Writing a prepared clip: frames of the original, decoded once and in pieces, into the file that `packed` reads."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BufferedIOBase

import cv2
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float64, UInt8

from kinelite.data.augment import resize
from kinelite.data.clip import Clip, ClipError, ClipInfo, DamagedClip, shrunk
from kinelite.data.decode import decode, probe
from kinelite.data.manifest import Row
from kinelite.data.prepare.moments import Moments, choose_moments
from kinelite.data.prepare.store import Settings
from kinelite.data.readers.packed import LARGEST_SIDE, ClipMeta, header
from kinelite.data.readers.packets import PacketEncoder, even

PIECE_BYTES = 128 * 2**20
"""Decoded frames that are held at a time."""


@dataclass(frozen=True)
class Packed:
    """What was written."""

    bytes: int
    frames: int
    width: int
    height: int
    cut_s: float | None
    """Where a damaged original breaks off."""


def pack(row: Row, settings: Settings, file: BufferedIOBase, source: str = "", source_bytes: int = 0) -> Packed:
    """Write the clip of ``row`` to ``file``, from its beginning, and say what it became.

    Of a damaged original the good part is kept, as `decode.read_part` does. Raises ClipError when there is none, and
    OSError when ``file`` cannot be written.
    """
    info = probe(row.path)
    if max(info.width, info.height) > LARGEST_SIDE:
        raise ClipError(row.path, f"is larger than {LARGEST_SIDE} pixels: {info.width} x {info.height}")
    try:
        try:
            return _pack(row, info, settings, file, source, source_bytes)
        except _Unexpected:
            return _pack(row, replace(info, counted=True, pts=None), settings, file, source, source_bytes)
    except FFmpegError as error:
        raise ClipError(row.path, f"cannot be encoded ({error.strerror or error})") from error


class _Unexpected(Exception):
    """Frames came with other times than the file's packets announce: they have to be counted instead."""


def _pack(row: Row, info: ClipInfo, settings: Settings, file: BufferedIOBase, source: str, source_bytes: int) -> Packed:
    reading = _Reading(row.path, info, choose_moments(info, row.start_s, row.end_s, settings), settings)
    # Room for the header, which is known last; its longest part is the path, escaped twice: 14 bytes for an emoji.
    shelf = _Shelf(file, settings, reserve=1536 + 14 * len(source))
    for frames in reading:
        shelf.add(frames)
    moments = reading.moments
    tables = _bytes_of(shelf.finish(), reading.pts_s, moments.shown_s, np.array(shelf.crc, dtype="<u4"))
    height, width = shelf.shape
    meta = ClipMeta(
        codec=settings.format,
        width=width,
        height=height,
        gop=settings.gop,
        quality=settings.quality,
        start_s=moments.start_s,
        end_s=moments.end_s,
        fps=moments.fps,
        time_base=moments.time_base,
        source=source,
        source_bytes=source_bytes,
        tables_crc=zlib.crc32(tables),
    )
    size = shelf.close(meta, tables)
    return Packed(size, len(shelf.crc), width, height, moments.end_s if reading.damaged else None)


def _bytes_of(*tables: np.ndarray) -> bytes:
    return b"".join(table.tobytes() for table in tables)


class _Reading:
    """Frames of a clip piece by piece; ``moments`` and ``pts_s`` say afterwards which frames there really were."""

    def __init__(self, path: str, info: ClipInfo, moments: Moments, settings: Settings) -> None:
        self.path, self.info, self.moments = path, info, moments
        self.short_side = settings.short_side
        self.pts_s: Float64[np.ndarray, " n"] = np.zeros(0)
        self.damaged = False
        height, width = shrunk(info.height, info.width, self.short_side)
        self.piece = max(1, PIECE_BYTES // (3 * height * width))

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
        keep: list[bool] = []
        last_s = -np.inf
        while len(keep) < len(self.moments.times_s):
            clip = self._next(len(keep))
            if clip is None:
                break
            # Where a frame is missing, the one before it comes again: it is stored once.
            fresh = np.diff(clip.pts_s, prepend=last_s) > 0
            keep += fresh.tolist()
            self.pts_s = np.append(self.pts_s, clip.pts_s[fresh])
            last_s = float(clip.pts_s[-1])
            frames = clip.frames.transpose(0, 2, 3, 1)
            yield frames if fresh.all() else frames[fresh]
        self.moments = self.moments.kept(np.array(keep))

    def _next(self, at: int) -> Clip | None:
        """Frames from number ``at`` on; None where damage leaves no more of them."""
        try:
            return self._decoded(at)
        except DamagedClip as damage:
            end_s = min(self.moments.end_s, damage.last_good_s + self.info.period_s)
            if end_s <= self.moments.start_s:
                raise
            self.damaged = True
            good = self.moments.times_s <= damage.last_good_s
            self.moments = replace(self.moments.kept(good), end_s=end_s)
            return self._decoded(at) if at < good.sum() else None

    def _decoded(self, at: int) -> Clip:
        times = self.moments.times_s[at : at + self.piece]
        clip = decode(self.path, times, self.info, short_side=self.short_side)
        near = np.searchsorted(self.moments.times_s, clip.pts_s + 1e-6, side="right") - 1
        if not self.info.counted and np.abs(self.moments.times_s[np.maximum(near, 0)] - clip.pts_s).max() > 1e-5:
            raise _Unexpected
        return clip


class _Shelf:
    """The file while it is written: room for the header, then frame after frame, the tables, and the header last."""

    def __init__(self, file: BufferedIOBase, settings: Settings, reserve: int) -> None:
        self.file, self.settings = file, settings
        self.data_at = -(-reserve // 8) * 8
        self.sizes: list[int] = []
        self.crc: list[int] = []
        self.shape = (0, 0)
        self._packets: PacketEncoder | None = None
        file.seek(0)
        file.truncate()
        file.write(bytes(self.data_at))

    def add(self, frames: UInt8[np.ndarray, "t h w 3"]) -> None:
        if self.settings.size is not None:
            frames = resize(frames.transpose(0, 3, 1, 2), self.settings.size, "squash").transpose(0, 2, 3, 1)
        self.shape = (frames.shape[1], frames.shape[2])
        for frame in frames:
            self._write(self._encoded(np.ascontiguousarray(frame)))

    def finish(self) -> np.ndarray:
        """The offsets, once the encoder has given all it held back."""
        if self._packets is not None:
            self._write(self._packets.finish())
        end = sum(self.sizes)
        self.file.write(bytes(-end % 8))
        return np.cumsum([0, *self.sizes]).astype("<i8")

    def close(self, meta: ClipMeta, tables: bytes) -> int:
        """Write tables and header; the size of the file in bytes."""
        self.file.write(tables)
        size = self.file.tell()
        data_bytes = size - len(tables) - self.data_at
        self.file.seek(0)
        begin = header(meta, data_bytes, len(self.crc), self.data_at)
        assert len(begin) == self.data_at, "the header outgrew its room"
        self.file.write(begin)
        return size

    def _write(self, records: Iterable[bytes]) -> None:
        for record in records:
            self.file.write(record)
            self.sizes.append(len(record))
            self.crc.append(zlib.crc32(record))

    def _encoded(self, frame: UInt8[np.ndarray, "h w 3"]) -> Iterable[bytes]:
        if self.settings.format == "h264":
            if self._packets is None:
                self._packets = PacketEncoder(*self.shape, self.settings.quality, self.settings.gop)
            return self._packets.add(frame)
        return [_ENCODERS[self.settings.format](frame, self.settings.quality)]


def _jpeg(frame: UInt8[np.ndarray, "h w 3"], quality: int) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    assert done
    return data.tobytes()


def _yuv(frame: UInt8[np.ndarray, "h w 3"], _: int) -> bytes:
    return cv2.cvtColor(even(frame), cv2.COLOR_RGB2YUV_I420).tobytes()


_ENCODERS = {"raw": lambda frame, _: frame.tobytes(), "raw-yuv": _yuv, "jpeg": _jpeg}
