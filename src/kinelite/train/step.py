"""What an optimiser step computes for a micro-batch: the normalised, mixed video and the loss of its logits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from kinelite.train.mix import Piece, pasted
from kinelite.types import InputSpec

Logits = Tensor | Mapping[str, Tensor]


def normalise(
    frames: UInt8[Tensor, "*b c t h w"], spec: InputSpec, device: torch.device
) -> Float[Tensor, "*b c t h w"]:
    """Decoded pixels to what a model takes, computed on ``device``: bytes travel, floats do not."""
    scale = 1 / (torch.tensor(spec.std, device=device) * 255).view(-1, 1, 1, 1)
    offset = torch.tensor(spec.mean, device=device).view(-1, 1, 1, 1) * -255 * scale
    video = frames.to(device, non_blocking=True).float()
    # One pass in place: on a CPU this is memory traffic, a fifth of a small model's step when every operation copies.
    return torch.addcmul(offset, video, scale, out=video)


def mixed_video(piece: Piece, spec: InputSpec, device: torch.device) -> Float[Tensor, "m c t h w"]:
    """The piece as a normalised video, mixed with its partners on ``device``."""
    if piece.cuboid is not None:
        return normalise(pasted(piece, piece.cuboid, device), spec, device)
    video = normalise(piece.frames, spec, device)
    if piece.other_frames is None:
        return video
    return piece.share * video + (1 - piece.share) * normalise(piece.other_frames, spec, device)


def mixed_features(piece: Piece, device: torch.device) -> Float[Tensor, "m n d"]:
    """The piece's stored features on ``device``, blended with those of its partners as mixup blends videos."""
    features = piece.frames.to(device, non_blocking=True).float()
    if piece.other_frames is None:
        return features
    return features.lerp(piece.other_frames.to(device, non_blocking=True).float(), 1 - piece.share)


def task_logits(logits: Logits) -> list[Tensor]:
    """Logits of each task, in the order of the heads."""
    return [logits] if isinstance(logits, Tensor) else list(logits.values())


def piece_loss(logits: Logits, piece: Piece, smoothing: float) -> Float[Tensor, ""]:
    """Cross-entropy summed over the clips of a piece, averaged over tasks. The caller divides by the whole batch."""
    per_task = task_logits(logits)
    if piece.idle:
        return torch.stack([values.float().sum() for values in per_task]).sum() * 0.0
    total = per_task[0].new_zeros(())
    for task, values in enumerate(per_task):
        for labels, share in ((piece.labels, piece.share), (piece.other_labels, 1 - piece.share)):
            if share > 0:
                target = labels[:, task].to(values.device)
                loss = F.cross_entropy(values.float(), target, label_smoothing=smoothing, reduction="sum")
                total = total + share * loss
    return total / len(per_task)
