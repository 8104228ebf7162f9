"""Chunk after chunk through a frozen encoder is the same again: two are traced, the others take what they took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kinelite.plan.track import Tracker


@dataclass(frozen=True)
class _Call:
    shape: tuple[int, ...]
    dtype: torch.dtype
    rise_bytes: int
    flops: int


class Repeats:
    """Calls without gradient, known by the shape of what they are given."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._once: set[tuple[int, ...]] = set()
        self._known: dict[tuple[int, ...], _Call] = {}

    def run(self, shape: tuple[int, ...], call: Callable[[], Tensor]) -> Tensor:
        """What ``call`` gives for an input of ``shape``; from the third time on a blank tensor of the same kind.

        The first call of a kind may leave something behind (what autocast caches), so the second one is the measure.
        """
        known = self._known.get(shape)
        if known is not None:
            self._tracker.spike(known.rise_bytes)
            self._tracker.flops += known.flops
            return torch.empty(known.shape, dtype=known.dtype)
        mark, flops = self._tracker.mark(), self._tracker.flops
        found = call()
        if shape in self._once:
            rise, spent = self._tracker.rise_since(mark), self._tracker.flops - flops
            self._known[shape] = _Call(tuple(found.shape), found.dtype, rise, spent)
        self._once.add(shape)
        return found
