"""A step that several processes share: which pieces each computes, and when their gradients meet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float, Int64, UInt8
from lightning_fabric import Fabric
from torch import Tensor

from kinelite.train.mix import Mix, Piece, micro_batches
from kinelite.train.part import Part
from kinelite.train.world import World


def shared_pieces(
    world: World,
    inputs: UInt8[Tensor, "b c t h w"] | Float[Tensor, "b n d"],
    labels: Int64[Tensor, "b tasks"],
    counts: Sequence[int],
    size: int,
    mix: Mix | None,
) -> Iterator[tuple[Piece, bool]]:
    """This process's micro-batches of a step, each with whether it is the last; as many in every process.

    ``counts``: clips of each process; ``mix`` was drawn over all of them, one process behind the other. A process that
    has fewer pieces than another ends with idle ones, so that nobody waits for it in vain.
    """
    pieces = -(-max(counts) // size)
    partners = None
    if mix is not None and world.size > 1:
        partners = world.fetch(inputs, mix.partner, counts), world.fetch(labels, mix.partner, counts)
    number = 0
    for piece in micro_batches(inputs, labels, size, mix, partners):
        number += 1
        yield piece, number == pieces
    while number < pieces:
        number += 1
        blank = torch.zeros(1, *inputs.shape[1:], dtype=inputs.dtype)
        none = torch.zeros(1, labels.shape[1], dtype=labels.dtype)
        yield Piece(blank, none, None, none, 1.0, idle=True), number == pieces


def computing(fabric: Fabric, part: Part, world: World, piece: Piece, last: bool) -> AbstractContextManager[None]:
    """While a piece is computed: gradients add up here and travel with the ``last`` one."""
    if part.norms is not None:
        part.norms.idle = piece.idle
    if world.size == 1 or last or part.together:  # parts of gradients are summed where they belong at once
        return contextlib.nullcontext()
    return fabric.no_backward_sync(part.forward)
