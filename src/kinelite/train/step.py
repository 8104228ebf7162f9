"""One optimiser step: micro-batches whose summed gradient is that of the whole batch, mixup, loss, clipping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from kinelite.types import InputSpec

Logits = Tensor | Mapping[str, Tensor]


@dataclass(frozen=True)
class Mix:
    """Mixup of a batch: clip i becomes ``share`` of itself and the rest of clip ``partner[i]`` (Zhang et al. 2018)."""

    share: float
    partner: Int64[Tensor, " b"]


@dataclass(frozen=True)
class Piece:
    """A micro-batch, with its clips' mixing partners."""

    frames: UInt8[Tensor, "m c t h w"]
    labels: Int64[Tensor, "m tasks"]
    other_frames: UInt8[Tensor, "m c t h w"] | None
    other_labels: Int64[Tensor, "m tasks"]
    share: float


def normalise(
    frames: UInt8[Tensor, "*b c t h w"], spec: InputSpec, device: torch.device
) -> Float[Tensor, "*b c t h w"]:
    """Decoded pixels to what a model takes, computed on ``device``: bytes travel, floats do not."""
    scale = 1 / (torch.tensor(spec.std, device=device) * 255).view(-1, 1, 1, 1)
    offset = torch.tensor(spec.mean, device=device).view(-1, 1, 1, 1) * -255 * scale
    video = frames.to(device, non_blocking=True).float()
    # One pass in place: on a CPU this is memory traffic, a fifth of a small model's step when every operation copies.
    return torch.addcmul(offset, video, scale, out=video)


def draw_mix(alpha: float, clips: int, rng: np.random.Generator) -> Mix | None:
    """A mixup draw over the whole batch, or None when it is off."""
    if alpha <= 0 or clips < 2:
        return None
    return Mix(float(rng.beta(alpha, alpha)), torch.from_numpy(rng.permutation(clips)))


def micro_batches(
    frames: UInt8[Tensor, "b c t h w"], labels: Int64[Tensor, "b tasks"], size: int, mix: Mix | None
) -> Iterator[Piece]:
    """Cut a batch into pieces of ``size``. Mixing partners come from the whole batch, so the pieces' size is free."""
    for begin in range(0, len(frames), size):
        part = slice(begin, begin + size)
        if mix is None:
            yield Piece(frames[part], labels[part], None, labels[part], 1.0)
        else:
            partner = mix.partner[part]
            yield Piece(frames[part], labels[part], frames[partner], labels[partner], mix.share)


def mixed_video(piece: Piece, spec: InputSpec, device: torch.device) -> Float[Tensor, "m c t h w"]:
    """The piece as a normalised video, mixed with its partners."""
    video = normalise(piece.frames, spec, device)
    if piece.other_frames is None:
        return video
    return piece.share * video + (1 - piece.share) * normalise(piece.other_frames, spec, device)


def task_logits(logits: Logits) -> list[Tensor]:
    """Logits of each task, in the order of the heads."""
    return [logits] if isinstance(logits, Tensor) else list(logits.values())


def piece_loss(logits: Logits, piece: Piece, smoothing: float) -> Float[Tensor, ""]:
    """Cross-entropy summed over the clips of a piece, averaged over tasks. The caller divides by the whole batch."""
    per_task = task_logits(logits)
    total = per_task[0].new_zeros(())
    for task, values in enumerate(per_task):
        for labels, share in ((piece.labels, piece.share), (piece.other_labels, 1 - piece.share)):
            if share > 0:
                target = labels[:, task].to(values.device)
                loss = F.cross_entropy(values.float(), target, label_smoothing=smoothing, reduction="sum")
                total = total + share * loss
    return total / len(per_task)
