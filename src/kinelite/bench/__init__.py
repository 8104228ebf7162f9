"""Measurements: what a model, a device or an input pipeline really takes, side by side with others in one run.

``case`` says what is measured and ``devices`` what on, ``calls`` makes the call of each mode in PyTorch, ``measure``
calls it, ``machine`` watches what else the machine does, ``apart`` gives each measurement a process, ``run`` makes a
record of each.

The room and the function of that name share ``kinelite.bench``, so the room itself can be called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinelite.records import BenchRecord


class _Room(ModuleType):
    def __call__(self, models: Sequence[str], **more: Any) -> list[BenchRecord]:
        """See `kinelite.bench.run.bench`."""
        from kinelite.bench.run import bench

        return bench(models, **more)


sys.modules[__name__].__class__ = _Room
