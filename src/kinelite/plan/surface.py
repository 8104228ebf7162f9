"""Peaks of all clips and frames from four traces.

With another number of clips or frames a step makes and drops the same storages in the same order, and the size of each
is a + b * clips + c * frames + d * clips * frames. So is what is taken after each birth and death, and the peak of any
step is the largest of those. What is not so (attention that holds the scores of all pairs of frames, chunks whose
number follows the clip) shows in a fifth trace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

TOLERANCE = 0.002
"""Largest relative difference between the surface and the fifth trace."""
_CLIPS = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
_FRAMES = np.array([2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])


@dataclass(frozen=True)
class Surface:
    """The planes that are the highest somewhere: rows of a, b, c, d."""

    planes: list[list[float]]

    def peak_bytes(self, clips: int, frames: int) -> float:
        """Peak of a step of so many clips at once."""
        return float(max(a + b * clips + c * frames + d * clips * frames for a, b, c, d in self.planes))


def fit(levels: Callable[[int, int], np.ndarray], clips: tuple[int, int], frames: tuple[int, int]) -> Surface | None:
    """The surface through the levels of four steps; None when they do not have the same births and deaths."""
    corners = [levels(m, f) for m in clips for f in frames]
    if len({len(corner) for corner in corners}) > 1:
        return None
    known = np.array([[1, m, f, m * f] for m in clips for f in frames], float)
    planes = np.linalg.solve(known, np.array(corners, float)).T
    tops = {int((planes @ np.array([1, m, f, m * f], float)).argmax()) for m in _CLIPS for f in _FRAMES}
    return Surface(planes[sorted(tops)].tolist())
