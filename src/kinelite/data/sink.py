"""Where readers put the frames that they decode, one at a time, so that only what is made of a clip has to be held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8


@runtime_checkable
class Sink(Protocol):
    """Takes the frames of one clip from a reader."""

    def begin(self, count: int, height: int, width: int) -> None:
        """Frames of this size follow, for ``count`` wanted times.

        Called again where reading starts anew; what was put before is void then.
        """
        ...

    def put(self, places: Int64[np.ndarray, " n"], frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """``frame`` is what is on display at these of the wanted times. Its memory belongs to the caller."""
        ...

    def end(self) -> None:
        """Every wanted time has had its frame."""
        ...


class Whole:
    """Keeps the frames as they were decoded."""

    def __init__(self) -> None:
        self.frames: UInt8[np.ndarray, "t h w 3"] = np.empty((0, 0, 0, 3), np.uint8)

    def begin(self, count: int, height: int, width: int) -> None:
        """Room for all frames."""
        if self.frames.shape[:3] != (count, height, width):
            # Colours stay side by side in memory, as decoders give them and OpenCV wants them.
            self.frames = np.empty((count, height, width, 3), np.uint8)

    def put(self, places: Int64[np.ndarray, " n"], frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Copy ``frame`` to its places."""
        self.frames[places] = frame

    def end(self) -> None:
        """Nothing is left to do."""

    @property
    def channels_first(self) -> UInt8[np.ndarray, "t 3 h w"]:
        """The frames as a `kinelite.data.clip.Clip` holds them, without a copy."""
        return self.frames.transpose(0, 3, 1, 2)


def places_of(wanted: Int64[np.ndarray, " t"]) -> Iterator[tuple[int, Int64[np.ndarray, " n"]]]:
    """Each distinct number of ``wanted``, increasing, with the places at which it stands."""
    order = np.argsort(wanted, kind="stable")
    numbers, begins = np.unique(wanted[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, begins[1:]), strict=True)
