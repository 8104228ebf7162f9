"""A frozen encoder over a clip of any length in bounded memory: so many frames on the device at a time.

Bytes wait where they were decoded. Only the frames of a chunk travel, become floats, are mixed and encoded; of each
chunk stays one vector per tubelet. A factorised encoder does not mix over time, so the features are those of the whole
clip at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinelite.errors import UsageError
from kinelite.models import Factorised
from kinelite.train.mix import Piece, cut
from kinelite.train.stage import frozen_encoder
from kinelite.train.step import mixed_features, mixed_video, normalise
from kinelite.types import InputSpec

CHUNK_FRAMES = {"cpu": 16, "mps": 64, "cuda": 128}
"""Frames at a time where nothing else is asked for: enough to keep such a device busy, little beside the weights."""
FULL_SIZE, MOST_SMALL_FRAMES = 224, 64
"""Pixels of the frames that these numbers are for; the most smaller ones at a time in `choose_pass_chunk`."""


def choose_chunk(asked: int, device: torch.device, tubelet: int) -> int:
    """Frames at a time: ``asked``, or for 0 what suits the device; whole tubelets, at least one.

    Raises UsageError for a number of frames that is no multiple of the tubelet.
    """
    if asked % tubelet:
        below, above = max(asked // tubelet, 1) * tubelet, (asked // tubelet + 1) * tubelet
        near = " or ".join(str(n) for n in dict.fromkeys((below, above)))
        raise UsageError(
            f"--memory.chunk-frames {asked} is no multiple of the tubelet, {tubelet} frames. Nearest: {near}."
        )
    return asked or max(tubelet, CHUNK_FRAMES.get(device.type, 16) // tubelet * tubelet)


def choose_pass_chunk(asked: int, device: torch.device, tubelet: int, size: int) -> int:
    """Frames of ``size`` pixels at a time in a pass over many clips, where a chunk is always full.

    On a CPU it may hold as many pixels as 16 frames of 224: 64 frames of 64 x 64 take 0.6 of the time that they take
    16 at a time, more gain nothing. A training step stays with `choose_chunk`, since its clips may fill less, and its
    memory would then follow them. Raises UsageError as `choose_chunk` does.
    """
    chunk = choose_chunk(asked, device, tubelet)
    if asked or device.type != "cpu" or size >= FULL_SIZE:
        return chunk
    frames = min(MOST_SMALL_FRAMES, chunk * FULL_SIZE**2 // size**2)
    return max(chunk, frames // tubelet * tubelet)


def encode_in_chunks(
    model: Any, frames: UInt8[Tensor, "b c t h w"], spec: InputSpec, device: torch.device, chunk_frames: int = 0
) -> Float[Tensor, "b n d"]:
    """Features of decoded clips on ``device``, without gradient.

    ``model`` is a `Factorised` one in evaluation mode (at least its encoder), bare or as Fabric runs it, which brings
    its precision. ``chunk_frames`` counts the frames of all clips together (0: see `choose_chunk`).
    """
    return encode_parts(
        model, frames.shape, lambda clips, times: normalise(frames[clips, :, times], spec, device), device, chunk_frames
    )


def encode_piece(
    model: Any, piece: Piece, spec: InputSpec, device: torch.device, chunk_frames: int = 0
) -> Float[Tensor, "m n d"]:
    """As `encode_in_chunks`, of a micro-batch whose clips are mixed chunk by chunk."""
    return encode_parts(
        model,
        piece.frames.shape,
        lambda clips, times: mixed_video(cut(piece, clips, times), spec, device),
        device,
        chunk_frames,
    )


def model_input(
    forward: Any, piece: Piece, spec: InputSpec, device: torch.device, chunk_frames: int = 0
) -> Float[Tensor, "m c t h w"] | Float[Tensor, "m n d"]:
    """What a training step gives to the model: features where the encoder of a factorised model is frozen as a whole
    or the piece holds stored ones, else the mixed video."""
    if piece.frames.is_floating_point():
        return mixed_features(piece, device)
    model = bare(forward)
    if isinstance(model, Factorised) and frozen_encoder(model):
        return encode_piece(forward, piece, spec, device, chunk_frames)
    return mixed_video(piece, spec, device)


@torch.no_grad()
def encode_parts(
    model: Any, shape: tuple[int, ...], video: Callable[[slice, slice], Tensor], device: torch.device, asked: int
) -> Float[Tensor, "b n d"]:
    """Features of clips of ``shape`` [b, c, t, h, w]: ``video(clips, frames)`` gives each chunk, normalised and on
    ``device``. ``asked``: frames at a time (0: see `choose_chunk`)."""
    clips, frames, tubelet = shape[0], shape[2], bare(model).tubelet
    chunk = choose_chunk(asked, device, tubelet)
    together = max(1, chunk // frames)
    features = None
    for first in range(0, clips, together):
        some = slice(first, min(first + together, clips))
        for begin in range(0, frames, chunk):
            part = model(video(some, slice(begin, min(begin + chunk, frames))), encode_only=True)
            if features is None:
                features = torch.empty(clips, frames // tubelet, part.shape[2], device=part.device)
            # Put in its place at once: what stayed small among the large memory of a chunk would keep that from being
            # given back, tens of MiB on a CPU.
            features[some, begin // tubelet : begin // tubelet + part.shape[1]] = part
    assert features is not None, "no clip to encode"
    return features


def bare(model: Any) -> Any:
    """The model that Fabric or torch.compile wrapped."""
    for name in ("module", "_orig_mod"):
        inner = getattr(model, name, None)
        if isinstance(inner, torch.nn.Module):
            return bare(inner)
    return model


def clip_logits(
    forward: Any, frames: UInt8[Tensor, "b c t h w"], spec: InputSpec, device: torch.device, chunk_frames: int = 0
) -> Any:
    """Logits of decoded clips, in evaluation mode: of a factorised model in chunks, of others at once."""
    if not isinstance(bare(forward), Factorised):
        return forward(normalise(frames, spec, device))
    return forward(encode_in_chunks(forward, frames, spec, device, chunk_frames))
