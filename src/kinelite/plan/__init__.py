"""What training and inference will take, before anything runs: memory by tracing without data, hours, disk.

``track`` follows the life of every storage, ``fake`` gives models without data, ``cuda`` makes a trace choose what a
GPU would, ``scratch`` knows what kernels allocate besides, ``step`` is the traced step, ``predict`` puts them together.
``stages`` asks for the peaks of a stage, ``remedies`` for what would fit, ``make`` writes the plan, ``choose`` picks
the clips at a time of a run.

The room and the function of that name share ``kinelite.plan``, so the room itself can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinelite.plan.make import Plan


class _Room(ModuleType):
    def __call__(self, model: str, recipe: str = "sfa", memory_gib: int | float | None = None, **more: Any) -> Plan:
        """See `kinelite.plan.api.plan`."""
        from kinelite.plan.api import plan

        return plan(model, recipe, memory_gib, **more)


sys.modules[__name__].__class__ = _Room
