"""The birth and death of every storage while PyTorch runs, on real tensors or on tensors without data.

The idea is that of ``torch.distributed._tools.mem_tracker``: a dispatch mode sees the result of every operation, and a
weak reference tells when its storage goes. What a storage was for is often known later than its birth (a gradient is a
temporary until it is kept), so births and deaths are written down and the peak is found afterwards.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, no_type_check

import numpy as np
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kinelite.plan.flops import flops

PARTS = ("weights", "gradients", "optimizer", "activations", "buffers", "inputs", "workspace")
"""What memory is for. activations: made in the forward pass and kept for the backward pass; workspace: the rest."""


class Block:
    """One storage: its size as an allocator gives it, and what it is for."""

    __slots__ = ("part", "size_bytes")

    def __init__(self, size_bytes: int, part: str) -> None:
        self.size_bytes, self.part = size_bytes, part


@dataclass(frozen=True)
class Peak:
    """The moment at which most memory was taken."""

    total_bytes: int
    parts_bytes: dict[str, int]
    """Part -> bytes at that moment; they sum to the total."""
    op: str
    """The operation that reached it."""


class Tracker(TorchDispatchMode):
    """Follow all storages that are made while it is active, and those that it is told of (`know`).

    Args:
        round_bytes: sizes are rounded up to a multiple of this, as the caching allocator of CUDA does to 512.
        scratch: bytes that the kernel of an operation takes beside its results, from (operation, arguments, result).
    """

    def __init__(self, round_bytes: int = 1, scratch: Callable[[Any, tuple[Any, ...], Any], int] | None = None) -> None:
        super().__init__()
        self.flops = 0
        """Floating-point operations of matrix products, convolutions and attention, two per multiply-accumulate."""
        self._round, self._scratch = round_bytes, scratch
        self._events: list[tuple[Block, int, str]] = []
        self._alive: dict[int, tuple[Block, Any]] = {}

    def know(self, tensors: Iterable[Tensor], part: str) -> None:
        """Say what tensors are for; those that are not known yet take memory from now on."""
        for tensor in tensors:
            self._born(tensor, part, "").part = part

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Tensors that lie elsewhere: they take nothing here."""
        for tensor in tensors:
            self._born(tensor, "elsewhere", "", size_bytes=0)

    def keep_as(self, part: str, otherwise: Iterable[str]) -> None:
        """All that is alive now is for ``part``, but for what is for one of ``otherwise``."""
        kept = set(otherwise)
        for block, _ in self._alive.values():
            if block.part not in kept:
                block.part = part

    def mark(self) -> int:
        """This moment, for `rise_since`."""
        return len(self._events)

    def rise_since(self, mark: int) -> int:
        """Bytes by which memory rose above its level at ``mark``, at most."""
        level = highest = 0
        for block, sign, _ in self._events[mark:]:
            level += sign * block.size_bytes
            highest = max(highest, level)
        return highest

    def levels(self) -> np.ndarray:
        """Bytes that are taken after each birth and death, int64."""
        changes = (sign * block.size_bytes for block, sign, _ in self._events)
        return np.cumsum(np.fromiter(changes, np.int64, len(self._events)))

    def spike(self, size_bytes: int) -> None:
        """Memory that is taken and given back before anything else happens."""
        block = Block(size_bytes, "workspace")
        self._events += [(block, 1, "spike"), (block, -1, "spike")]

    def peak(self) -> Peak:
        """The largest sum of what was alive at a time, by part."""
        total = largest = 0
        at = -1
        for i, (block, sign, _) in enumerate(self._events):
            total += sign * block.size_bytes
            if total > largest:
                largest, at = total, i
        parts: dict[str, int] = dict.fromkeys(PARTS, 0)
        for block, sign, _ in self._events[: at + 1]:
            if block.size_bytes:
                parts[block.part] += sign * block.size_bytes
        return Peak(largest, parts, self._events[at][2] if at >= 0 else "")

    # Without checks of types in the test run: it is called for every operation, and says Any of all it is given.
    @no_type_check
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace == "prim":
            return result
        name = str(func)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._born(leaf, "workspace", name)
        if self._scratch is not None and (extra := self._scratch(func, args, result)):
            # The kernel holds it beside its results, and gives it back at its end.
            block = Block(self._rounded(extra), "workspace")
            self._events += [(block, 1, name), (block, -1, name)]
        self.flops += flops(func, args, kwargs or {}, result)
        return result

    def _born(self, tensor: Tensor, part: str, op: str, size_bytes: int | None = None) -> Block:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return self._alive[key][0]
        block = Block(self._rounded(storage.nbytes()) if size_bytes is None else size_bytes, part)
        self._events.append((block, 1, op))
        self._alive[key] = (block, weakref.ref(storage, partial(self._died, key)))
        return block

    # No function made for each storage: where types are checked, each would be compiled.
    @no_type_check
    def _died(self, key: int, _: Any) -> None:
        if found := self._alive.pop(key, None):
            self._events.append((found[0], -1, ""))

    def _rounded(self, size_bytes: int) -> int:
        return -(-size_bytes // self._round) * self._round


def storages_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of all storages behind tensors, each once."""
    found = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(found.values())
