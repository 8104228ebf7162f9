"""The largest sum of what PyTorch allocated on a CPU, by its profiler."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from torch import nn
from torch.profiler import ProfilerActivity, profile

from kinelite.plan.profiled import memory_line
from kinelite.plan.track import storages_bytes
from kinelite.records import GIB


def tensor_peak_gib(model: nn.Module, call: Callable[[], object]) -> float:
    """Peak of one more call, in GiB: the weights, and what the call allocates and releases.

    The inputs and an optimiser's state, allocated before, are left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            call()
    weights_bytes = storages_bytes([*model.parameters(), *model.buffers()])
    return (weights_bytes + max(level for level, _ in memory_line(recorded))) / GIB
