"""Prepared clips: one file per clip, the frames one after the other, each found by its offset.

The container is safetensors (https://github.com/huggingface/safetensors): the tensors ``data`` (uint8), ``offsets``,
``pts_s``, ``shown_s`` and ``crc``, so that any tool can open it. Only the frames that are asked for are read.
"""

from __future__ import annotations

import functools
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from io import FileIO
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8, UInt32

from kinelite.data.clip import ClipError, ClipInfo, PathLike, shrunk
from kinelite.data.prepare.store import FORMATS, SUFFIX, from_line, to_line
from kinelite.data.sink import Sink, places_of

VERSION = "1"
LONGEST_HEADER = 2**16
LARGEST_SIDE = 2**14

__all__ = ["ClipMeta", "PackedInfo", "decode", "handles", "header", "probe", "tables_bytes"]


@dataclass(frozen=True)
class ClipMeta:
    """What stands in a clip's header beside the sizes."""

    codec: str
    width: int
    height: int
    gop: int
    quality: int
    start_s: float
    end_s: float
    fps: float
    time_base: str | None
    """Seconds per time stamp of the original, such as 1/90000; None where it has no usable ones, or frames left out."""
    source: str
    """Path of the original below the set's root."""
    source_bytes: int
    tables_crc: int
    """CRC-32 of the four tables."""


@dataclass(frozen=True)
class PackedInfo(ClipInfo):
    """A prepared clip, with where its frames lie."""

    gop: int = 1
    data_at: int = 0
    """First byte of the frames in the file."""
    offsets: Int64[np.ndarray, " n1"] = field(default_factory=lambda: np.zeros(1, np.int64), compare=False, repr=False)
    """Beginning of each frame, and the end of the last, from ``data_at``."""
    pts_s: Float64[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)
    shown_s: Float64[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)
    """From when on each frame is on display. Before its own time where frames between two were left out."""
    crc: UInt32[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0, np.uint32), compare=False, repr=False)


def handles(name: str) -> bool:
    """Files with the suffix of prepared clips."""
    return name.endswith(SUFFIX)


def probe(path: PathLike) -> PackedInfo:
    """What the file holds; its size, header and tables are checked, the frames are not read. Cached until it changes.

    Raises ClipError that says what is wrong with it.
    """
    name = os.fspath(path)
    try:
        status = os.stat(name)
    except OSError as error:
        raise ClipError(name, f"cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for who writes into it
        raise ClipError(name, "cannot be read: it is a folder, a pipe or a device, not a prepared clip")
    return _probe(name, status.st_mtime_ns, status.st_size)


def decode(
    info: ClipInfo, times_s: Float64[np.ndarray, " t"], sink: Sink, short_side: int | None = None
) -> Float64[np.ndarray, " t"]:
    """As `kinelite.data.decode.Reader` has it; reads and decodes only the frames that are asked for (in h264 also those
    that they lean on), each once.

    Raises ClipError when a frame's checksum is wrong; raw frames are not summed up while reading, `data prepare
    --verify` does.
    """
    import cv2

    packed = info if isinstance(info, PackedInfo) else probe(info.path)
    # The tolerance of `Picker`: times are rounded, so a little early is still that frame.
    early = times_s + min(1e-3, 0.25 * packed.period_s)
    shown = np.maximum(np.searchsorted(packed.shown_s, early, side="right") - 1, 0)
    height, width = shrunk(packed.height, packed.width, short_side)
    smaller = (height, width) != (packed.height, packed.width)
    sink.begin(len(shown), height, width)
    wanted = dict(places_of(shown))
    try:
        with open(packed.path, "rb", buffering=0) as file:
            for number, frame in _DECODERS[packed.codec](file, packed, list(wanted)):
                if smaller:
                    frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
                sink.put(wanted[number], frame)
    except OSError as error:
        raise ClipError(packed.path, f"cannot be read ({error.strerror or error})") from error
    return packed.pts_s[shown]


def _record(file: FileIO, info: PackedInfo, number: int) -> bytes:
    """The bytes of one frame, with their checksum compared."""
    begin, end = int(info.offsets[number]), int(info.offsets[number + 1])
    file.seek(info.data_at + begin)
    data = file.read(end - begin)
    if len(data) != end - begin or zlib.crc32(data) != info.crc[number]:
        raise ClipError(info.path, f"is damaged: the checksum of frame {number} is wrong; prepare it again (--verify)")
    return data


def _fill(file: FileIO, info: PackedInfo, number: int, into: np.ndarray) -> None:
    file.seek(info.data_at + int(info.offsets[number]))
    if file.readinto(into.data) != into.nbytes:
        raise ClipError(info.path, f"is cut off within frame {number}")


_Numbered = Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]
"""Frames with their numbers; the memory of each may be that of the one before."""


def _raw(file: FileIO, info: PackedInfo, wanted: list[int]) -> _Numbered:
    frame = np.empty((info.height, info.width, 3), np.uint8)
    for number in wanted:
        _fill(file, info, number, frame)
        yield number, frame


def _yuv(file: FileIO, info: PackedInfo, wanted: list[int]) -> _Numbered:
    import cv2

    height, width = info.height + info.height % 2, info.width + info.width % 2
    planes = np.empty((height * 3 // 2, width), np.uint8)
    frame = np.empty((height, width, 3), np.uint8)
    for number in wanted:
        _fill(file, info, number, planes)
        cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420, dst=frame)
        yield number, frame[: info.height, : info.width]


def _jpeg(file: FileIO, info: PackedInfo, wanted: list[int]) -> _Numbered:
    import cv2

    for number in wanted:
        frame = cv2.imdecode(np.frombuffer(_record(file, info, number), np.uint8), cv2.IMREAD_COLOR)
        if frame is None or frame.shape != (info.height, info.width, 3):
            raise ClipError(info.path, f"frame {number} is not the JPEG picture that the header announces")
        yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=frame)


def _h264(file: FileIO, info: PackedInfo, wanted: list[int]) -> _Numbered:
    from kinelite.data.readers.packets import decode_packets

    size = info.height, info.width
    return decode_packets(lambda number: _record(file, info, number), info.path, info.gop, wanted, size)


_DECODERS: dict[str, Callable[[FileIO, PackedInfo, list[int]], _Numbered]] = {
    "raw": _raw,
    "raw-yuv": _yuv,
    "jpeg": _jpeg,
    "h264": _h264,
}

_TABLES = (("offsets", "I64", 8), ("pts_s", "F64", 8), ("shown_s", "F64", 8), ("crc", "U32", 4))


def tables_bytes(frames: int) -> int:
    """Bytes of the four tables of a clip of so many frames."""
    return sum(width * (frames + (name == "offsets")) for name, _, width in _TABLES)


def header(meta: ClipMeta, data_bytes: int, frames: int, length: int = 0) -> bytes:
    """The safetensors header, its length included, filled up with blanks to ``length`` bytes.

    The reader builds it anew from what it parsed and compares, so no damaged byte of it goes unnoticed.
    """
    text = to_line(meta).decode().strip()
    tree: dict[str, Any] = {
        "__metadata__": {"format": "kinelite.clip", "version": VERSION, "clip": text, "crc": f"{_crc(text):08x}"},
        "data": {"dtype": "U8", "shape": [data_bytes], "data_offsets": [0, data_bytes]},
    }
    begin = data_bytes
    for name, kind, width in _TABLES:
        count = frames + (name == "offsets")
        tree[name] = {"dtype": kind, "shape": [count], "data_offsets": [begin, begin + width * count]}
        begin += width * count
    body = json.dumps(tree, separators=(",", ":")).encode()
    body = body.ljust(max(length - 8, -(-len(body) // 8) * 8))
    return len(body).to_bytes(8, "little") + body


def _crc(text: str) -> int:
    return zlib.crc32(text.encode())


@functools.lru_cache(maxsize=1024)
def _probe(path: str, mtime_ns: int, size: int) -> PackedInfo:
    try:
        with open(path, "rb") as file:
            meta, data_at, data_bytes, frames = _header(file.read(LONGEST_HEADER), path, size)
            file.seek(data_at + data_bytes)
            tables = file.read(tables_bytes(frames))
    except OSError as error:
        raise ClipError(path, f"cannot be read ({error.strerror or error})") from error
    if zlib.crc32(tables) != meta.tables_crc:
        raise ClipError(path, "is damaged: the checksum of its tables is wrong; prepare it again (--verify)")
    return _info(path, meta, data_at, frames, tables)


def _header(begin: bytes, path: str, size: int) -> tuple[ClipMeta, int, int, int]:
    """Meta, first byte of the frames, their bytes and their number."""
    if size == 0:
        raise ClipError(path, "is empty (0 bytes)")
    length = int.from_bytes(begin[:8], "little")
    body = begin[8 : 8 + length]
    if not 2 <= length <= LONGEST_HEADER - 8 or not body.startswith(b"{"):
        raise ClipError(path, "is not a prepared clip: it does not begin with a header")
    if len(body) < length:
        raise ClipError(path, f"is cut off: it ends within its header ({size} bytes)")
    try:
        tree = json.loads(body)
        kept = tree["__metadata__"]
        version = str(kept["version"])
        if version == VERSION:
            meta = from_line(kept["clip"], ClipMeta)
            data_bytes, frames = int(tree["data"]["shape"][0]), int(tree["pts_s"]["shape"][0])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ClipError(path, f"has a damaged header ({type(error).__name__})") from error
    if version != VERSION:
        raise ClipError(path, f"is of version {version}; this Kinelite reads version {VERSION}. Prepare it anew")
    if header(meta, data_bytes, frames, 8 + length) != begin[: 8 + length] or not _sane(meta, data_bytes, frames):
        raise ClipError(path, "has a damaged header")
    whole = 8 + length + data_bytes + tables_bytes(frames)
    if size != whole:
        raise ClipError(path, f"is {'cut off' if size < whole else 'too long'}: {size} bytes instead of {whole}")
    return meta, 8 + length, data_bytes, frames


def _sane(meta: ClipMeta, data_bytes: int, frames: int) -> bool:
    sides = 1 <= meta.width <= LARGEST_SIDE and 1 <= meta.height <= LARGEST_SIDE
    counts = frames >= 1 and data_bytes >= 1 and 1 <= meta.gop <= 250
    return sides and counts and meta.codec in FORMATS and meta.fps > 0 and meta.start_s < meta.end_s


def _info(path: str, meta: ClipMeta, data_at: int, frames: int, tables: bytes) -> PackedInfo:
    ends = np.cumsum([width * (frames + (name == "offsets")) for name, _, width in _TABLES])[:-1]
    offsets, pts_s, shown_s, crc = (
        np.frombuffer(part, kind)
        for part, kind in zip(
            np.split(np.frombuffer(tables, np.uint8), ends), ("<i8", "<f8", "<f8", "<u4"), strict=True
        )
    )
    base = None if meta.time_base is None else Fraction(meta.time_base)
    return PackedInfo(
        path=path,
        stream=0,
        codec=meta.codec,
        container="clip",
        packets=frames,
        start_s=meta.start_s,
        end_s=meta.end_s,
        fps=meta.fps,
        width=meta.width,
        height=meta.height,
        rotation=0,
        counted=False,
        time_base=base or Fraction(1),
        pts=None if base is None else np.rint(pts_s / float(base)).astype(np.int64),
        keyframes_s=shown_s[:: meta.gop],
        gop=meta.gop,
        data_at=data_at,
        offsets=offsets,
        pts_s=pts_s,
        shown_s=shown_s,
        crc=crc,
    )
