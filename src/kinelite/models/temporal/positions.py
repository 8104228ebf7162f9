"""Learned positions in time, and fitting them to another number of tubelets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

POSITION_STD = 0.2
"""Spread of the positions at the start. Scenic's 0.02 is so small beside the features that on small sets the order of
the frames is learnt late or never; docs/log.md has the measurement."""


def resize_temporal_positions(
    positions: Float[Tensor, "1 n d"], tubelets: int, others: int = 1
) -> Float[Tensor, "1 m d"]:
    """Learned positions ``[1, others + old, d]`` for another number of tubelets: ``[1, others + tubelets, d]``.

    The first ``others``, of a class token, are kept; the rest is interpolated linearly with the ends fixed, as Scenic
    does when it restores a ViViT of another clip length. With an equal length the input itself is returned.
    """
    if positions.shape[1] == tubelets + others:
        return positions
    kept, steps = positions[:, :others], positions[:, others:]
    longer = F.interpolate(steps.transpose(1, 2).float(), size=tubelets, mode="linear", align_corners=True)
    return torch.cat([kept, longer.transpose(1, 2).to(steps.dtype)], dim=1)


def fit_positions(
    state: dict[str, Tensor], name: str, own: Tensor, notes: list[str], what: str, unit: str, others: int = 1
) -> None:
    """`resize_temporal_positions` of ``state[name]``, in place, where only its length differs from that of ``own``.

    What was done is told in ``notes``, of ``what`` in which ``unit``.
    """
    given = state.get(name)
    if given is None or given.ndim != 3 or given.shape == own.shape or given.shape[2] != own.shape[2]:
        return
    old, new = given.shape[1] - others, own.shape[1] - others
    if old < 1:
        return
    state[name] = resize_temporal_positions(given, new, others)
    notes.append(f"{what} interpolated from {old} to {new} {unit}")
