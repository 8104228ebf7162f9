"""Mixing the clips of a step: mixup, and a cuboid of another clip (CutMix, VideoMix); labels follow the share.

mixup: Zhang et al. 2018, arXiv 1710.09412. CutMix: Yun et al. 2019, arXiv 1905.04899. VideoMix: Yun et al. 2020, arXiv
2012.03457. One draw per step over the whole batch, so the size of the micro-batches changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from kinelite.config import OptimConfig

Cuboid = tuple[slice, slice, slice]
"""Frames, rows and columns."""

_CUT_AXES = {"spatial": (1, 2), "temporal": (0,), "spatiotemporal": (0, 1, 2)}


@dataclass(frozen=True)
class Mix:
    """What happens to a batch: clip i keeps ``share`` of itself, the rest is of clip ``partner[i]``."""

    share: float
    """What the clip's own label counts; under a cuboid exactly the share of pixels outside of it."""
    partner: Int64[Tensor, " b"]
    cuboid: Cuboid | None = None
    """Where the partner's pixels are shown. None: mixup, every pixel is blended."""


@dataclass(frozen=True)
class Piece:
    """A micro-batch, with its clips' mixing partners: their decoded frames, or their stored features."""

    frames: UInt8[Tensor, "m c t h w"] | Float[Tensor, "m n d"]
    labels: Int64[Tensor, "m tasks"]
    other_frames: UInt8[Tensor, "m c t h w"] | Float[Tensor, "m n d"] | None
    other_labels: Int64[Tensor, "m tasks"]
    share: float
    cuboid: Cuboid | None = None
    idle: bool = False
    """Counts for nothing: of a process that has no clip while others have, and has to take part in their exchange."""


def draw_mix(optim: OptimConfig, shape: tuple[int, ...], rng: np.random.Generator) -> Mix | None:
    """One draw over a batch of ``shape`` = (clips, frames, height, width); None when mixing is off.

    Where both mixup and cutmix are on, one of them is taken, each in half of the steps.
    """
    kinds = [name for name in ("mixup", "cutmix") if getattr(optim, name) > 0]
    if not kinds or shape[0] < 2:
        return None
    kind = kinds[0] if len(kinds) == 1 else kinds[rng.integers(len(kinds))]
    alpha = getattr(optim, kind)
    share = float(rng.beta(alpha, alpha))
    cuboid = None
    if kind == "cutmix":
        cuboid = draw_cuboid(share, shape[1:], _CUT_AXES[optim.videomix], rng)
        share = 1.0 - volume(cuboid) / math.prod(shape[1:])
    return Mix(share, torch.from_numpy(rng.permutation(shape[0])), cuboid)


def draw_cuboid(share: float, shape: tuple[int, ...], axes: tuple[int, ...], rng: np.random.Generator) -> Cuboid:
    """A cuboid of ``1 - share`` of the volume about a random centre, cut along ``axes``, whole along the others.

    Each cut axis has the same ratio, the root that gives that volume. As in CutMix the cuboid ends where the clip ends,
    so it may be smaller than was drawn.
    """
    ratio = (1.0 - share) ** (1 / len(axes))
    slices = [slice(0, length) for length in shape]
    for axis in axes:
        length = shape[axis]
        centre, half = int(rng.integers(length)), int(ratio * length / 2)
        slices[axis] = slice(max(0, centre - half), min(length, centre + half))
    return slices[0], slices[1], slices[2]


def volume(cuboid: Cuboid) -> int:
    """Its pixels."""
    return math.prod(part.stop - part.start for part in cuboid)


def micro_batches(
    frames: UInt8[Tensor, "b c t h w"] | Float[Tensor, "b n d"],
    labels: Int64[Tensor, "b tasks"],
    size: int,
    mix: Mix | None,
    partners: tuple[Tensor, Tensor] | None = None,
) -> Iterator[Piece]:
    """Cut a batch into pieces of ``size``. Mixing partners come from the whole batch, so the pieces' size is free.

    ``partners``: their frames and labels, where the batch is this process's part of a larger one.
    """
    for begin in range(0, len(frames), size):
        part = slice(begin, begin + size)
        if mix is None:
            yield Piece(frames[part], labels[part], None, labels[part], 1.0)
        elif partners is not None:
            others, their_labels = partners[0][part], partners[1][part]
            yield Piece(frames[part], labels[part], others, their_labels, mix.share, mix.cuboid)
        else:
            partner = mix.partner[part]
            yield Piece(frames[part], labels[part], frames[partner], labels[partner], mix.share, mix.cuboid)


def pasted(piece: Piece, cuboid: Cuboid, device: torch.device) -> UInt8[Tensor, "m c t h w"]:
    """The piece's frames on ``device`` with the partners' pixels in the cuboid. Only those travel."""
    frames = piece.frames.to(device, copy=True, non_blocking=True)
    if piece.other_frames is not None:
        frames[:, :, *cuboid] = piece.other_frames[:, :, *cuboid].to(device, non_blocking=True)
    return frames


def cut(piece: Piece, clips: slice, frames: slice) -> Piece:
    """Some clips of a piece, and of them some frames; the cuboid's frames count from the first of those."""
    other = piece.other_frames if piece.other_frames is None else piece.other_frames[clips, :, frames]
    cuboid = piece.cuboid
    if cuboid is not None:
        first, last = max(cuboid[0].start, frames.start), min(cuboid[0].stop, frames.stop)
        cuboid = (slice(first - frames.start, max(first, last) - frames.start), *cuboid[1:])
    labels, other_labels = piece.labels[clips], piece.other_labels[clips]
    return Piece(piece.frames[clips, :, frames], labels, other, other_labels, piece.share, cuboid)
