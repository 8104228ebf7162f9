"""Where the axes of a rearranged tensor come from: the algebra of views and permutations, without tensors.

A contiguous tensor, the *source*, is seen as axes that each step through it with a stride. A view splits and joins such
axes, a permutation orders them; whatever was done, one view, one permutation and one view of the source do the same,
and where the axes stand in the order of their strides nothing has to be done at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Axis = tuple[int, int]
"""Size, and stride in the source; sizes are above 1."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Axes:
    """A rearrangement of a source: for each dimension of the result the axes that it runs through, outermost first."""

    dims: tuple[tuple[Axis, ...], ...]

    @staticmethod
    def of(shape: Sequence[int]) -> Axes:
        """The source itself."""
        strides = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
        return Axes(tuple(_joined([pair]) for pair in zip(shape, strides, strict=True)))

    @property
    def shape(self) -> Shape:
        """Of the result."""
        return tuple(math.prod(size for size, _ in dim) for dim in self.dims)

    @property
    def moves(self) -> bool:
        """Whether numbers change their place in memory."""
        return len(_joined(self._flat())) > 1

    def permuted(self, order: Sequence[int]) -> Axes:
        """After a permutation of the result."""
        return Axes(tuple(self.dims[place] for place in order))

    def viewed(self, shape: Sequence[int]) -> Axes | None:
        """After a view of the result; None where an axis would have to be split into parts that do not fit."""
        waiting = list(reversed(_joined(self._flat())))
        dims = []
        for wanted in shape:
            taken: list[Axis] = []
            while wanted > 1:
                size, stride = waiting.pop()
                if size <= wanted:
                    if wanted % size:
                        return None
                    taken.append((size, stride))
                    wanted //= size
                elif size % wanted:
                    return None
                else:
                    inner = size // wanted
                    taken.append((wanted, stride * inner))
                    waiting.append((inner, stride))
                    wanted = 1
            dims.append(_joined(taken))
        return Axes(tuple(dims))

    def moves_needed(self) -> tuple[Shape, tuple[int, ...]]:
        """Shape to view the source in, and the permutation of that after which a view gives the result."""
        wanted = _joined(self._flat())
        given = sorted(wanted, key=lambda axis: -axis[1])
        return tuple(size for size, _ in given), tuple(given.index(axis) for axis in wanted)

    def split(self, own: Sequence[int] = ()) -> tuple[Shape, tuple[tuple[int, ...], ...]]:
        """The source's shape with every axis apart, and for each dimension of the result which of those it is.

        Axes that are several dimensions of the source's ``own`` shape are cut between them, where they can be.
        """
        edges = [math.prod(own[place + 1 :]) for place in range(len(own))]
        fine = [[part for axis in dim for part in _cut(axis, edges)] for dim in self.dims]
        given = sorted((axis for dim in fine for axis in dim), key=lambda axis: -axis[1])
        return tuple(size for size, _ in given), tuple(tuple(given.index(axis) for axis in dim) for dim in fine)

    def _flat(self) -> list[Axis]:
        return [axis for dim in self.dims for axis in dim]


def gathered(shape: Sequence[int], dims: Sequence[Sequence[int]]) -> Axes:
    """The inverse of `Axes.split`: a source of a shape, each dimension of the result made of some of its axes."""
    own = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    return Axes(tuple(_joined([(shape[place], own[place]) for place in dim]) for dim in dims))


def swaps(order: Sequence[int]) -> list[tuple[tuple[int, int, int, int], tuple[int, ...]]]:
    """A permutation as exchanges of two neighbouring blocks of axes, for runtimes with few axes.

    Each is (axes before, axes of the first block, axes of the second block, axes behind), and the order after it.
    """
    now, found = list(range(len(order))), []
    for place, wanted in enumerate(order):
        at = now.index(wanted)
        if at == place:
            continue
        length = 1
        while place + length < len(order) and at + length < len(now) and now[at + length] == order[place + length]:
            length += 1
        now = [*now[:place], *now[at : at + length], *now[place:at], *now[at + length :]]
        found.append(((place, at - place, length, len(now) - at - length), tuple(now)))
    return found


def groups(own: Sequence[int], shape: Sequence[int]) -> list[list[int]] | None:
    """For each dimension of a shape which axes of a finer one it is made of; None where one is not finer."""
    found, axis = [], 0
    for size in own:
        group: list[int] = []
        while size > 1:
            if axis == len(shape) or size % shape[axis]:
                return None
            group.append(axis)
            size //= shape[axis]
            axis += 1
        found.append(group)
    return found


def _cut(axis: Axis, edges: Sequence[int]) -> list[Axis]:
    (size, stride), found = axis, []
    for edge in edges:  # from the outermost
        if stride < edge < size * stride and edge % stride == 0 and (size * stride) % edge == 0:
            found.append((size * stride // edge, edge))
            size = edge // stride
    return [*found, (size, stride)]


def _joined(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Neighbours that step through the source as one; axes of size 1 go."""
    found: list[Axis] = []
    for size, stride in axes:
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return tuple(found)
