"""Which decoder reads the video files of a run: measured on some of its own clips."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from kinelite.data.clip import ClipError, ClipInfo
from kinelite.data.decode import DECODERS, ChooseTimes, reader, span
from kinelite.data.manifest import Row
from kinelite.data.readers import torchcodec_reader, video
from kinelite.data.sink import Whole
from kinelite.errors import SetupError, unknown

CLIPS = 4
"""How many clips are decoded with both."""
WORTH = 0.95
"""TorchCodec is taken when it needs at most this share of PyAV's time: a smaller gain is within the spread."""

Decoder = Literal["pyav", "torchcodec"]


@dataclass(frozen=True)
class Choice:
    """A decoder, and why. ``why`` is a sentence for the user, with the figures."""

    name: Decoder
    why: str
    ms_pyav: float | None = None
    """CPU milliseconds per clip; None where nothing was measured."""
    ms_torchcodec: float | None = None


def choose_decoder(asked: str, rows: Sequence[Row], choose: ChooseTimes) -> Choice:
    """The decoder for ``rows``: the one asked for, or for 'auto' the faster one.

    'auto' decodes four clips, spread over the rows, with both, at the times that ``choose`` names (as in `read_part`).
    TorchCodec is taken only when it is faster by 5 % or more and all frames are the same, bit for bit. Raises
    UsageError for an unknown name, and SetupError when TorchCodec is asked for and missing.
    """
    if asked == "pyav":
        return Choice("pyav", "Decoder: PyAV, as asked.")
    if asked == "torchcodec":
        torchcodec_reader.require()
        return Choice("torchcodec", "Decoder: TorchCodec, as asked.")
    if asked != "auto":
        raise unknown("decoder", asked, ("auto", *DECODERS), "kinelite train --help")
    try:
        torchcodec_reader.require()
    except SetupError as error:
        return Choice("pyav", f"Decoder: PyAV; {str(error).split('. ')[0]}.")
    return _compared(_some(rows, choose))


def _some(rows: Sequence[Row], choose: ChooseTimes) -> list[tuple[ClipInfo, Float64[np.ndarray, " t"]]]:
    """Video files among the rows, spread evenly, with the times wanted of each."""
    found: list[tuple[ClipInfo, Float64[np.ndarray, " t"]]] = []
    step = max(1, len(rows) // CLIPS)
    # The second half is for clips of the first that cannot be read.
    for row in (*rows[::step], *rows[step // 2 :: step]):
        if len(found) == CLIPS or reader(row.path) not in (video, torchcodec_reader):
            continue
        try:
            info = video.probe(row.path)
            start_s, end_s = span(info, row.start_s, row.end_s)
        except ClipError:
            continue
        found.append((info, choose(start_s, end_s, info.period_s)))
    return found


def _compared(clips: Sequence[tuple[ClipInfo, Float64[np.ndarray, " t"]]]) -> Choice:
    took = {"pyav": 0.0, "torchcodec": 0.0}
    same, compared = True, 0
    for info, times_s in clips:
        try:
            video_s, expected = _measured(video, info, times_s)
            torchcodec_s, frames = _measured(torchcodec_reader, info, times_s)
        except ClipError:
            continue
        compared += 1
        took["pyav"] += 1e3 * video_s
        took["torchcodec"] += 1e3 * torchcodec_s
        same = same and np.array_equal(frames, expected)
    if not compared:
        return Choice("pyav", "Decoder: PyAV; there is no video file to compare it with TorchCodec on.")
    ours, theirs = took["pyav"] / compared, took["torchcodec"] / compared
    name: Decoder = "torchcodec" if same and theirs <= WORTH * ours else "pyav"
    verdict = "the same frames" if same else "other frames, so it is not used"
    figures = f"PyAV {ours:.1f} ms, TorchCodec {theirs:.1f} ms of one core per clip, {verdict}"
    shown = {"pyav": "PyAV", "torchcodec": "TorchCodec"}[name]
    return Choice(name, f"Decoder: {shown} ({figures}; {compared} clips measured).", ours, theirs)


def _measured(module: Any, info: ClipInfo, times_s: Float64[np.ndarray, " t"]) -> tuple[float, np.ndarray]:
    """CPU seconds of the better of two runs, the first of which also warms up; the frames."""
    best, whole = np.inf, Whole()
    for _ in range(2):
        began = time.process_time()
        whole = Whole()
        module.decode(info, times_s, whole)
        best = min(best, time.process_time() - began)
    return best, whole.frames
