"""Which moments of a clip are looked at, as presentation times in seconds; no file is touched.

A clip spans ``[start_s, end_s]``, where ``end_s`` is the end of the display interval of its last frame (its time plus
one frame period). Centres of N segments of a clip of N equally spaced frames therefore hit each frame exactly once.
Times of one view never decrease and never leave the clip; where a clip holds fewer frames than are asked for, frames
repeat.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

from kinelite.errors import UsageError
from kinelite.types import Sampling


def sparse_times(
    start_s: float, end_s: float, frames: int, rng: np.random.Generator | None = None
) -> Float64[np.ndarray, " t"]:
    """One time in each of ``frames`` equal segments: random inside it when ``rng`` is given, else its centre (TSN).

    Temporal Segment Networks, Wang et al. 2016. Raises UsageError for an empty or reversed span or no frames.
    """
    _check(start_s, end_s, frames)
    within = np.full(frames, 0.5) if rng is None else rng.random(frames)
    return _segments(start_s, end_s, within)


def dense_times(
    start_s: float, end_s: float, frames: int, stride_s: float, rng: np.random.Generator | None = None
) -> Float64[np.ndarray, " t"]:
    """A window of ``frames`` times ``stride_s`` apart: at a random place when ``rng`` is given, else in the middle.

    In a clip that is shorter than the window, the window begins with the clip and the last frame repeats. (ViViT's
    input pipeline repeats such a video from its beginning instead; a jump back in time is a motion that nobody made.)
    Raises UsageError as ``sparse_times`` does, and for a stride that is not positive.
    """
    slack = _slack(start_s, end_s, frames, stride_s)
    offset = slack * (0.5 if rng is None else rng.random())
    return _window(start_s, end_s, frames, stride_s, offset)


def view_times(
    start_s: float, end_s: float, frames: int, views: int, sampling: Sampling, stride_s: float
) -> Float64[np.ndarray, "views t"]:
    """Times of ``views`` temporal test views, evenly spread over the clip; one view is the plain test sampling.

    dense: windows from the first that fits to the last. sparse: view v looks at the share (v + 0.5) / views of each
    segment. ``stride_s`` is only used by dense. Raises UsageError as above, and for less than one view.
    """
    if views < 1:
        raise UsageError(f"{views} temporal views: give 1 or more.")
    if sampling == "sparse":
        _check(start_s, end_s, frames)
        shares = (np.arange(views) + 0.5) / views
        return np.stack([_segments(start_s, end_s, np.full(frames, share)) for share in shares])
    slack = _slack(start_s, end_s, frames, stride_s)
    # Half a stride of margin: times on the very edges of frames would show the last frame of the last view twice.
    margin = 0.5 * min(stride_s, slack)
    offsets = np.linspace(margin, slack - margin, views) if views > 1 else np.array([0.5 * slack])
    return np.stack([_window(start_s, end_s, frames, stride_s, float(offset)) for offset in offsets])


def phase_times(
    start_s: float,
    end_s: float,
    frames: int,
    phases: int,
    sampling: Sampling,
    stride_s: float,
    rng: np.random.Generator | None = None,
) -> Float64[np.ndarray, "phases t"]:
    """Times of ``phases`` samples of one view, side by side; the middle one of an odd number is the plain sample.

    sparse: phase p looks at the share (p + 0.5) / phases of each segment, at random inside its part when ``rng`` is
    given. dense: windows a ``phases``-th of a stride apart around one place. Raises UsageError as above, and for less
    than one phase.
    """
    if phases < 1:
        raise UsageError(f"{phases} phases of a sample: give 1 or more.")
    if sampling == "sparse":
        _check(start_s, end_s, frames)
        within = np.full((phases, frames), 0.5) if rng is None else rng.random((phases, frames))
        shares = (np.arange(phases)[:, None] + within) / phases
        return np.stack([_segments(start_s, end_s, share) for share in shares])
    slack = _slack(start_s, end_s, frames, stride_s)
    offset = slack * (0.5 if rng is None else rng.random())
    shifts = (np.arange(phases) - (phases - 1) / 2) * stride_s / phases
    return np.stack([_window(start_s, end_s, frames, stride_s, offset + float(shift)) for shift in shifts])


def _segments(start_s: float, end_s: float, within: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
    times = start_s + (end_s - start_s) * (np.arange(len(within)) + within) / len(within)
    return np.clip(times, start_s, end_s)


def _window(start_s: float, end_s: float, frames: int, stride_s: float, offset: float) -> Float64[np.ndarray, " t"]:
    return np.clip(start_s + offset + stride_s * np.arange(frames), start_s, end_s)


def _slack(start_s: float, end_s: float, frames: int, stride_s: float) -> float:
    """Room for the window to move, in seconds."""
    _check(start_s, end_s, frames)
    if not (math.isfinite(stride_s) and stride_s > 0):
        raise UsageError(f"A stride of {stride_s} s between frames: give a positive number.")
    return max(0.0, end_s - start_s - (frames - 1) * stride_s)


def _check(start_s: float, end_s: float, frames: int) -> None:
    if frames < 1:
        raise UsageError(f"{frames} frames per clip: give 1 or more.")
    if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s < end_s):
        raise UsageError(f"A clip from {start_s} s to {end_s} s: it must begin before it ends.")
