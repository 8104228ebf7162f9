"""Which frames of a clip a store keeps, and from when on each of them is on display."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from kinelite.data.clip import ClipInfo
from kinelite.data.decode import span
from kinelite.data.prepare.store import Settings
from kinelite.data.sampling import sparse_times


@dataclass(frozen=True)
class Moments:
    """Times of the frames to keep, increasing, in the clock of the original."""

    times_s: Float64[np.ndarray, " n"]
    shown_s: Float64[np.ndarray, " n"]
    """From when on each is on display in the store; its own time unless frames before it are left out."""
    start_s: float
    end_s: float
    fps: float
    time_base: str | None
    """Seconds per time stamp when every frame with a time stamp is kept."""

    def kept(self, keep: Bool[np.ndarray, " n"] | slice) -> Moments:
        """The same clip with some of the frames."""
        return replace(self, times_s=self.times_s[keep], shown_s=self.shown_s[keep])


def choose_moments(info: ClipInfo, start_s: float | None, end_s: float | None, settings: Settings) -> Moments:
    """The frames of a clip, or of its part, that ``settings`` keep.

    All of them: what sampling by time finds in the original it then finds in the store. Raises ClipError for a part
    that lies outside of the file.
    """
    start, end = span(info, start_s, end_s)
    times = frame_times(info)
    # As `Picker` has it: a little early is still that frame. What is on display at the very end is needed, too.
    early = min(1e-3, 0.25 * info.period_s)
    first = max(0, int(np.searchsorted(times, start + early, side="right")) - 1)
    last = max(first + 1, int(np.searchsorted(times, end + early, side="right")))
    times = times[first:last]
    shown = times
    fps = info.fps
    if settings.stride is not None:
        times = shown = times[:: settings.stride]
        fps = info.fps / settings.stride
    elif settings.fps is not None or settings.frames is not None:
        times, shown = _thinned(times, start, end, early, settings)
        fps = len(times) / (end - start)
    whole = settings.stride is None and settings.fps is None and settings.frames is None
    base = str(info.time_base) if whole and info.pts is not None and not info.counted else None
    return Moments(times, shown, start, end, fps, base)


def _thinned(
    times: Float64[np.ndarray, " n"], start: float, end: float, early: float, settings: Settings
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Times of the frames on display at the moments that are wanted, each once, and the beginnings of their shows.

    ``--fps``: the moments are a grid from the beginning. ``--frames``: the middles of equal segments, and a frame is
    shown all through its segment, so that a random time in it finds that frame as well.
    """
    if settings.frames is not None:
        wanted = sparse_times(start, end, settings.frames)
        shown = start + (end - start) * np.arange(settings.frames) / settings.frames
    else:
        rate = settings.fps or 1.0
        shown = wanted = start + np.arange(max(1, int(np.ceil((end - start) * rate - 1e-6)))) / rate
    found = np.maximum(np.searchsorted(times, wanted + early, side="right") - 1, 0)
    places, first = np.unique(found, return_index=True)
    return times[places], shown[first]


def frame_times(info: ClipInfo) -> Float64[np.ndarray, " n"]:
    """Times of all frames of a file in seconds, increasing; read from its packets where ``info`` has no table."""
    if info.pts is not None:
        return info.pts * float(info.time_base)
    if info.counted or info.container == "images":
        return info.start_s + np.arange(max(1, info.packets)) / info.fps
    status = os.stat(info.path)
    return _packet_times(info.path, info.stream, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _packet_times(path: str, stream: int, mtime_ns: int, size: int) -> Float64[np.ndarray, " n"]:
    """Of a large file, whose probe looks at the beginning and the end only. Its parts come one after the other."""
    from kinelite.data.readers.probe import opened

    with opened(path) as container:
        video = container.streams[stream]
        stamps = [p.pts for p in container.demux(video) if p.pts is not None and p.size > 1 and not p.is_discard]
        return np.unique(np.array(stamps, dtype=np.int64)) * float(video.time_base or 1)
