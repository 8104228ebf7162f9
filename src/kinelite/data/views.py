"""Views of a clip as models take them, made while its frames are decoded: nothing but the result is held."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Int64, UInt8

from kinelite.data.augment import Draw
from kinelite.data.augment.applied import changes_nothing, finish, resampler
from kinelite.data.stages import stage

STRIP = 2**21
"""Bytes of squares that gather before their colours change and they are laid apart: enough that a call costs little
beside its work, few enough to stay in the cache."""

Draws = Callable[[int, int], Sequence[Draw]]
"""Height and width of a clip's frames -> what happens to them, a draw for each view."""


class Views:
    """A `kinelite.data.sink.Sink` that fills ``out``.

    The wanted times are those of the first group of views, then those of the second, and so on; the ``crops`` views of
    a group differ in their draws alone.
    """

    def __init__(self, out: UInt8[np.ndarray, "v c t h w"], draws: Draws, crops: int = 1) -> None:
        self.out, self.draws, self.crops = out, draws, crops
        self.views: list[_View] = []

    def begin(self, count: int, height: int, width: int) -> None:
        """Decide the draws."""
        assert count * self.crops == self.out.shape[0] * self.out.shape[2]
        draws = self.draws(height, width)
        self.views = [
            (_Slow if draw.colour and draw.scope == "clip" else _View)(planes, draw)
            for planes, draw in zip(self.out, draws, strict=True)
        ]

    def put(self, places: Int64[np.ndarray, " n"], frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Resample the frame for each view that shows it."""
        shown: dict[int, list[int]] = {}
        for place in places.tolist():
            group, at = divmod(place, self.out.shape[2])
            shown.setdefault(group * self.crops, []).append(at)
        with stage("augment"):
            for first, at in shown.items():
                for view in self.views[first : first + self.crops]:
                    view.put(at, frame)

    def end(self) -> None:
        """Finish what has gathered."""
        with stage("augment"):
            for view in self.views:
                view.end()


class _View:
    """One view whose frames are finished as they come."""

    def __init__(self, planes: UInt8[np.ndarray, "c t h w"], draw: Draw) -> None:
        self.planes, self.draw = planes, draw
        self.resample = None if changes_nothing(draw) else resampler(draw)
        count = max(1, min(planes.shape[1], STRIP // (3 * draw.size**2)))
        self.strip = np.empty((count, draw.size, draw.size, 3), np.uint8)
        self.at: list[int] = []
        """Where in the view the squares of the strip belong."""

    def put(self, at: list[int], frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """The square of ``frame``, at these places of the view."""
        last = None
        for place in at:
            square = self._room(place)
            if last is not None and len(self.at) != 1:  # with one, those before it are finished and gone
                square[:] = last
            elif self.resample is None:
                square[:] = frame
            else:
                self.resample(frame, square)
            last = square

    def _room(self, place: int) -> UInt8[np.ndarray, "size size 3"]:
        if len(self.at) == len(self.strip):
            self.end()
        self.at.append(place)
        return self.strip[len(self.at) - 1]

    def end(self) -> None:
        """Finish the squares that have gathered, and lay them apart."""
        if not self.at:
            return
        squares = self.strip[: len(self.at)]
        finish(squares, self.draw)
        with stage("pack"):
            at = np.array(self.at)
            # Frames that follow one another are laid apart in one call, an eighth of the time of NumPy's transposing.
            breaks = np.flatnonzero(np.diff(at) != 1) + 1
            for part, places in zip(np.split(squares, breaks), np.split(at, breaks), strict=True):
                _lay_apart(part, self.planes[:, places[0] : places[-1] + 1])
        self.at.clear()


class _Slow(_View):
    """One view whose colours depend on all of its frames: they wait in the view's own memory."""

    def __init__(self, planes: UInt8[np.ndarray, "c t h w"], draw: Draw) -> None:
        self.planes, self.draw, self.at = planes, draw, []
        self.resample = resampler(draw)
        self.strip = planes.reshape(*planes.shape[1:], 3)

    def _room(self, place: int) -> UInt8[np.ndarray, "size size 3"]:
        return self.strip[place]

    def end(self) -> None:
        """Finish the view; once."""
        finish(self.strip, self.draw)
        with stage("pack"):
            _lay_apart_in_place(self.planes)


def _lay_apart(squares: UInt8[np.ndarray, "t h w 3"], planes: UInt8[np.ndarray, "3 t h w"]) -> None:
    """Copy frames, whose colours lie side by side, into planes of one colour each, as models take them."""
    count, height, width = squares.shape[:3]
    tall = squares.reshape(count * height, width, 3)
    cv2.split(tall, [plane.reshape(count * height, width) for plane in planes])


def _lay_apart_in_place(planes: UInt8[np.ndarray, "3 t h w"]) -> None:
    """As `_lay_apart` from the same memory to itself, with room for one frame."""
    frames, height, width = planes.shape[1:]
    blocks = planes.reshape(3 * frames, height, width)
    for frame in blocks.reshape(frames, 3, height, width):
        cv2.split(frame.reshape(height, width, 3).copy(), list(frame))
    # Colour c of frame t is block 3 t + c now, and is to be block c * frames + t; each cycle of that moves by itself.
    source = np.arange(3 * frames).reshape(frames, 3).T.ravel()
    moved = np.zeros(3 * frames, bool)
    for start in range(3 * frames):
        if moved[start] or source[start] == start:
            continue
        spare, place = blocks[start].copy(), start
        while source[place] != start:
            blocks[place] = blocks[source[place]]
            moved[place] = True
            place = source[place]
        blocks[place] = spare
        moved[place] = True
