"""A clip on disk and its frames: what every reader of videos, image folders and prepared clips returns or raises."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from kinelite.errors import DataError

PathLike = str | os.PathLike[str]


class ClipWarning(UserWarning):
    """A clip was used, but not as the file promised."""


class ClipError(DataError):
    """A file that gives no frames. ``path`` is the file; the message names it and the reason."""

    def __init__(self, path: PathLike, reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path = os.fspath(path)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders in loader workers; the default would call __init__ with the message alone.
        return type(self), (self.path, self.reason)


class DamagedClip(ClipError):
    """Decoding broke off before the frames that were asked for. ``last_good_s`` is the time of the last good frame."""

    def __init__(self, path: PathLike, last_good_s: float, reason: str) -> None:
        super().__init__(path, f"is damaged: nothing can be decoded after {last_good_s:.3f} s ({reason})")
        self.last_good_s = last_good_s
        self._cause = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.last_good_s, self._cause)


@dataclass(frozen=True)
class ClipInfo:
    """A file's largest video stream, an image sequence or a prepared clip.

    Times are presentation times in seconds, sizes are as displayed (after rotation).
    """

    path: str
    stream: int
    """Index of the stream in the file."""
    codec: str
    container: str
    packets: int
    """Packets that can hold a picture; in a large file an estimate from duration and rate."""
    start_s: float
    end_s: float
    """End of the display interval of the last frame."""
    fps: float
    width: int
    height: int
    rotation: int
    """Clockwise turn that displaying applies, in degrees: 0, 90, 180 or 270."""
    counted: bool
    """The file's presentation times are unusable: frame i is shown at start_s + i / fps, and nothing can be sought."""
    time_base: Fraction = Fraction(1)
    """Seconds per unit of ``pts``."""
    pts: Int64[np.ndarray, " n"] | None = field(default=None, compare=False, repr=False)
    """Time stamp of each frame in presentation order; None when counted, or when the file is large."""
    order: Int64[np.ndarray, " p"] | None = field(default=None, compare=False, repr=False)
    """Of a counted file, where known: place in the order of display of the picture of each packet, -1 for none."""
    keyframes_s: Float64[np.ndarray, " k"] = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)
    """Times at which decoding can start."""

    @property
    def period_s(self) -> float:
        """Mean time from one frame to the next, in seconds."""
        return 1.0 / self.fps

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Clip:
    """Decoded frames, RGB, as displayed (rotation applied)."""

    frames: UInt8[np.ndarray, "t c h w"]
    pts_s: Float64[np.ndarray, " t"]
    """Presentation time of each frame in seconds."""
    path: str


def shrunk(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Height and width of a frame whose short side is brought down to ``short_side``; it is never enlarged."""
    if short_side is None or min(height, width) <= short_side:
        return height, width
    scale = short_side / min(height, width)
    return round(height * scale), round(width * scale)
