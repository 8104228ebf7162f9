"""Training: stages over one loop, checkpoints, evaluation, prediction.

The room and the function of that name share ``kinelite.train``: whoever imports a part of the room makes Python put the
room there, so the room itself can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinelite.config import TrainConfig
    from kinelite.train.api import Run


class _Room(ModuleType):
    def __call__(self, config: TrainConfig) -> Run:
        """See `kinelite.train.api.train`."""
        from kinelite.train.api import train

        return train(config)


sys.modules[__name__].__class__ = _Room
