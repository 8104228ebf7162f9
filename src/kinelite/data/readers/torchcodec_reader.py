"""Frames of a video file decoded with TorchCodec, an optional extra; what it cannot do exactly is left to PyAV.

TorchCodec runs on the FFmpeg that is installed on the machine, PyAV on the one in its wheel. The same versions give the
same frames; others may round a colour differently (`kinelite.data.choose_decoder` looks before it takes TorchCodec).
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from kinelite.data.clip import ClipInfo, shrunk
from kinelite.data.readers import video
from kinelite.data.readers.video import handles, probe
from kinelite.data.sink import Sink, places_of
from kinelite.errors import SetupError

__all__ = ["decode", "handles", "probe", "require"]

TOGETHER = 32
"""Frames that are asked for at a time: enough that the call costs little, few enough to hold."""


def require() -> type[Any]:
    """TorchCodec's VideoDecoder. Raises SetupError, with what to install, when it cannot be imported."""
    try:
        decoders = importlib.import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError) as error:
        missing = isinstance(error, ModuleNotFoundError) and str(error.name).startswith("torchcodec")
        reason = "is not installed" if missing else f"cannot be loaded ({_first_line(error)})"
        raise SetupError(
            f"TorchCodec {reason}. It needs a build for this PyTorch (pip install 'kinelite[torchcodec]') and FFmpeg's "
            "shared libraries (Debian, Ubuntu: apt install ffmpeg; conda install ffmpeg). "
            "Or decode with what is there: --clips.decoder pyav."
        ) from error
    return decoders.VideoDecoder


def decode(
    info: ClipInfo, times_s: Float64[np.ndarray, " t"], sink: Sink, short_side: int | None = None
) -> Float64[np.ndarray, " t"]:
    """As `kinelite.data.decode.Reader` has it, on one thread.

    PyAV takes over where TorchCodec has no exact answer: files whose time stamps are unusable, whose frame table is not
    known or disagrees with TorchCodec's, that are to be shrunk while decoding, and that TorchCodec fails on. Raises
    SetupError when TorchCodec is missing.
    """
    decoder = require()
    smaller = shrunk(info.height, info.width, short_side) != (info.height, info.width)
    if not (info.counted or info.pts is None or smaller):
        pts_s = _decoded(decoder, info, info.pts, times_s, sink)
        if pts_s is not None:
            return pts_s
    return video.decode(info, times_s, sink, short_side)


def _decoded(
    decoder: type[Any],
    info: ClipInfo,
    pts: Int64[np.ndarray, " n"],
    times_s: Float64[np.ndarray, " t"],
    sink: Sink,
) -> Float64[np.ndarray, " t"] | None:
    early_s = min(1e-3, 0.25 * info.period_s)  # as in Picker
    shown_s = pts * float(info.time_base)
    wanted = np.maximum(np.searchsorted(shown_s, times_s + early_s, side="right") - 1, 0)
    distinct = list(places_of(wanted))
    sink.begin(len(wanted), info.height, info.width)
    try:
        source = decoder(info.path, stream_index=info.stream, dimension_order="NHWC", num_ffmpeg_threads=1)
        if len(source) != len(pts):
            return None
        for begin in range(0, len(distinct), TOGETHER):
            part = distinct[begin : begin + TOGETHER]
            numbers = [number for number, _ in part]
            found = source.get_frames_at(numbers)
            same_times = bool((np.abs(found.pts_seconds.numpy() - shown_s[numbers]) < early_s).all())
            if tuple(found.data.shape[1:3]) != (info.height, info.width) or not same_times:
                return None
            for (_, places), frame in zip(part, found.data.numpy(), strict=True):
                sink.put(places, frame)
    except (RuntimeError, ValueError, IndexError):
        return None  # PyAV names the reason, or finds the good part
    return shown_s[wanted]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
