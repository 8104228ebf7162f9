"""Frames of a clip that is kept as images: a numbered sequence ('.../frame_%010d.jpg'), or a folder of images.

A sequence's clock is its numbers: image n is shown from n / 30 s to (n + 1) / 30 s, so a part from image m to image n
is the part from m / 30 s to (n + 1) / 30 s. A folder's clock is the place in it, from 0, at 30 images per second.
"""

from __future__ import annotations

import functools
import os
import re
import stat
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from jaxtyping import Float64, Int64, UInt8

from kinelite.data.clip import ClipError, ClipInfo, DamagedClip, PathLike, shrunk
from kinelite.data.readers.image_headers import size_of
from kinelite.data.sink import Sink, places_of

FPS = 30.0
"""Images per second of every sequence and folder: files do not say, and sampling only needs a clock."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
LONGEST_TABLE = 20_000
"""Times are kept of clips of up to so many images, so that a full cache stays below 200 MB."""
REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_NUMBER = re.compile(r"%(?:0(\d+))?d")


def handles(name: str) -> bool:
    """A name with one '%d' or '%05d' and the suffix of an image, or a folder."""
    suffix = os.path.splitext(name)[1].lower()
    return (suffix in SUFFIXES and _is_pattern(os.path.basename(name))) or os.path.isdir(name)


def probe(path: PathLike) -> ClipInfo:
    """Which images there are, and the size of the first. Cached until an image is added to the folder or removed.

    Raises ClipError for a folder that is missing or holds no such image, and when the first one cannot be read.
    """
    name = os.fspath(path)
    return _probe(name, _changed_ns(name))


def decode(
    info: ClipInfo, times_s: Float64[np.ndarray, " t"], sink: Sink, short_side: int | None = None
) -> Float64[np.ndarray, " t"]:
    """As `kinelite.data.decode.Reader` has it; each image is read once, all are brought to the size of the first.

    Where a number is missing from a sequence, the image before it is on display. With ``short_side`` JPEG images are
    decoded at 1/2, 1/4 or 1/8 of their size where that is the wanted size or at least twice it, and the rest is done by
    averaging areas: on the frames of Something-Something and UCF101 that were tried, this differed from averaging the
    full image by less than 1 of 255 on average, and by less than 3 on the worst image. Orientation tags are
    ignored, because frames that were taken out of a video are upright. Raises DamagedClip for an image that is missing
    or cannot be decoded after good ones, and ClipError when there is no good one before it.
    """
    series = _series(info.path, _changed_ns(info.path))
    early_s = min(1e-3, 0.25 * info.period_s)
    wanted = series.shown(np.floor((times_s + early_s) * FPS))
    shot = np.empty((*shrunk(info.height, info.width, short_side), 3), np.uint8)
    sink.begin(len(wanted), *shot.shape[:2])
    first = int(wanted.min())
    for number, places in places_of(wanted):
        try:
            _load(series.file(number), shot)
        except _Unreadable as error:
            raise _damage(info, series, first, number, str(error)) from error
        sink.put(places, shot)
    return wanted / FPS


@dataclass(frozen=True)
class _Series:
    """Numbers for which there are images, as runs without a gap: an hour of images is then as small as a second."""

    starts: Int64[np.ndarray, " runs"]
    ends: Int64[np.ndarray, " runs"]
    """Last number of each run."""
    pattern: str
    names: tuple[str, ...] = ()
    """Of a folder: paths by place; of a sequence none."""

    def __len__(self) -> int:
        return int((self.ends - self.starts + 1).sum())

    def shown(self, places: Float64[np.ndarray, " t"]) -> Int64[np.ndarray, " t"]:
        """The number on display at each place: the last that exists and is not after it, else the first."""
        numbers = np.clip(places, self.starts[0], self.ends[-1]).astype(np.int64)
        run = np.searchsorted(self.starts, numbers, side="right") - 1
        return np.minimum(numbers, self.ends[run])

    def numbers(self) -> Int64[np.ndarray, " n"]:
        return np.concatenate([np.arange(a, b + 1) for a, b in zip(self.starts, self.ends, strict=True)])

    def file(self, number: int) -> str:
        return self.names[number] if self.names else _fill(self.pattern, number)


class _Unreadable(Exception):
    """An image that gives no picture; the message names it and the reason."""


@functools.lru_cache(maxsize=1024)
def _probe(path: str, changed_ns: int) -> ClipInfo:
    series = _series(path, changed_ns)
    first, last = int(series.starts[0]), int(series.ends[-1])
    try:
        width, height = _size(series.file(first))
    except _Unreadable as error:
        raise ClipError(path, f"its first image cannot be used: {error}") from error
    return ClipInfo(
        path=path,
        stream=0,
        codec=os.path.splitext(series.file(first))[1].lower().replace("jpeg", "jpg").removeprefix("."),
        container="images",
        packets=len(series),
        start_s=first / FPS,
        end_s=(last + 1) / FPS,
        fps=FPS,
        width=width,
        height=height,
        rotation=0,
        counted=False,
        time_base=Fraction(1, round(FPS)),
        pts=series.numbers() if len(series) <= LONGEST_TABLE else None,
    )


@functools.lru_cache(maxsize=1024)
def _series(path: str, changed_ns: int) -> _Series:
    if os.path.isdir(path):
        names = _images(path)
        if not names:
            raise ClipError(path, f"is a folder without images ({', '.join(sorted(SUFFIXES))}){_others(path)}")
        everything = tuple(os.path.join(path, name) for name in names)
        return _Series(np.zeros(1, np.int64), np.array([len(names) - 1]), path, everything)
    folder, pattern = os.path.split(path)
    numbers = _numbers(folder or ".", pattern)
    if not len(numbers):
        raise ClipError(path, f"no image in the folder is called so{_others(folder or '.')}")
    breaks = np.flatnonzero(np.diff(numbers) != 1)
    return _Series(
        numbers[np.concatenate([[0], breaks + 1])], numbers[np.concatenate([breaks, [len(numbers) - 1]])], path
    )


def _numbers(folder: str, pattern: str) -> Int64[np.ndarray, " n"]:
    """Numbers n, increasing, for which the folder holds the file that the pattern makes of n."""
    digits = _NUMBER.search(pattern)
    assert digits is not None
    before, after = pattern[: digits.start()].replace("%%", "%"), pattern[digits.end() :].replace("%%", "%")
    width = int(digits[1] or 1)
    found = []
    for entry in os.scandir(folder):
        text = entry.name[len(before) : len(entry.name) - len(after)]
        # '%05d' makes 00012 and 123456 but neither 12 nor 0000012.
        is_number = text.isascii() and text.isdigit() and (len(text) == width or (len(text) > width and text[0] != "0"))
        if is_number and entry.name == before + text + after:
            found.append(int(text))
    return np.sort(np.array(found, dtype=np.int64))


def _images(folder: str) -> list[str]:
    """Names of the images, numbers in them by value: 2.jpg before 10.jpg. Hidden files are left out.

    So is optical flow (flow_x_00001.jpg) beside other images: frame extractors put both into one folder.
    """
    names = (entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    images = [name for name in names if os.path.splitext(name)[1].lower() in SUFFIXES]
    colour = [name for name in images if not name.lower().startswith("flow")]
    return sorted(colour or images, key=_natural)


def _natural(name: str) -> tuple[list[str | int], str]:
    # Split at digits, texts and numbers alternate, so that like is compared with like; the name itself decides ties.
    return [int(p) if i % 2 else p for i, p in enumerate(re.split(r"([0-9]+)", name))], name


def _is_pattern(name: str) -> bool:
    return len(_NUMBER.findall(name.replace("%%", ""))) == 1


def _fill(pattern: str, number: int) -> str:
    folder, name = os.path.split(pattern)
    return os.path.join(folder, name % number)


def _changed_ns(path: str) -> int:
    try:
        return os.stat(path if os.path.isdir(path) else os.path.dirname(path) or ".").st_mtime_ns
    except OSError as error:
        raise ClipError(path, f"cannot be opened ({error.strerror})") from error


def _others(folder: str) -> str:
    names = sorted(entry.name for entry in os.scandir(folder))
    return f"; there are {len(names)} other files, such as {', '.join(names[:3])}" if names else "; it is empty"


def _read(file: str) -> UInt8[np.ndarray, " n"]:
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # opening a pipe would wait for who writes into it
            raise _Unreadable(f"{os.path.basename(file)} is a folder, a pipe or a device, not an image")
        with open(file, "rb") as stream:
            content = np.frombuffer(stream.read(), np.uint8)
    except OSError as error:
        raise _Unreadable(f"{os.path.basename(file)} cannot be opened ({error.strerror})") from error
    if not len(content):
        raise _Unreadable(f"{os.path.basename(file)} is empty (0 bytes)")
    return content


def _size(file: str) -> tuple[int, int]:
    """Width and height in pixels, from the header where it is a known one."""
    content = _read(file)
    size = size_of(content.tobytes())
    if size is None:
        height, width = _picture(file, content, cv2.IMREAD_COLOR).shape[:2]
        return width, height
    return size


def _load(file: str, into: UInt8[np.ndarray, "h w 3"]) -> None:
    content = _read(file)
    height, width = into.shape[:2]
    kind = cv2.IMREAD_COLOR
    size = size_of(content[: 2**16].tobytes()) if content[0] == 0xFF else None
    if size is not None:
        kind = REDUCED.get(max((f for f in REDUCED if _suffices(size, f, (width, height))), default=1), kind)
    picture = _picture(file, content, kind)
    if picture.shape[:2] != (height, width):
        smaller = picture.shape[0] >= height and picture.shape[1] >= width
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=into)


def _suffices(size: tuple[int, int], factor: int, wanted: tuple[int, int]) -> bool:
    """Whether a JPEG at 1 / factor of its size is what is wanted, or twice that: below, the shift of pixels shows."""
    exact = (wanted[0] * factor, wanted[1] * factor) == size
    return exact or min(size[0] / wanted[0], size[1] / wanted[1]) >= 2 * factor


def _picture(file: str, content: UInt8[np.ndarray, " n"], kind: int) -> UInt8[np.ndarray, "h w 3"]:
    try:
        picture = cv2.imdecode(content, kind | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise _Unreadable(f"{os.path.basename(file)} cannot be decoded ({error.err})") from error
    if picture is None:
        raise _Unreadable(f"{os.path.basename(file)} is cut off or not an image")
    return picture  # type: ignore[return-value]


def _damage(info: ClipInfo, series: _Series, first: int, bad: int, reason: str) -> ClipError:
    """What to raise for the bad image: where the good part ends that begins with the first wanted one."""
    good = None
    numbers = series.numbers()
    spare = np.empty((info.height, info.width, 3), np.uint8)
    for number in numbers[(numbers >= first) & (numbers < bad)].tolist():
        try:
            _load(series.file(number), spare)
        except _Unreadable as error:
            reason = str(error)
            break
        good = number
    if good is None:
        return ClipError(info.path, f"no image of the wanted part can be decoded ({reason})")
    return DamagedClip(info.path, good / FPS, reason)
