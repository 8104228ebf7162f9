"""The same step for real: on this CPU with every allocation recorded by PyTorch's profiler, or on a GPU."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from kinelite.plan.step import Work, blank_batch, build, prepare, prime, run
from kinelite.plan.track import storages_bytes


def profiled_peak_bytes(work: Work) -> int:
    """Largest sum of allocations and releases over a step, in bytes, with the weights that were there before.

    Real weights, clips and gradients: it takes the memory and the time of a training step. The optimiser has the state
    of its second step.
    """
    model: Any = build(work)
    ready = prepare(work, model)
    prime(ready)
    before = storages_bytes([*model.parameters(), *model.buffers(), *ready.state()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            frames, labels = blank_batch(work, model)
            run(work, ready, frames, labels)
    return before + max(level for level, _ in memory_line(recorded))


def allocated_peak_bytes(work: Work) -> int:
    """Most that the allocator of a GPU had handed out at a time during two steps, in bytes, weights included."""
    model: Any = build(work)
    ready = prepare(work, model.to("cuda"))
    frames, labels = blank_batch(work, model)
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2 if work.mode == "train" else 1):
        run(work, ready, frames, labels)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def memory_line(recorded: Any) -> list[tuple[int, int]]:
    """(bytes since the beginning, change) after each event of a profile, in the order of time."""
    results = recorded.profiler.kineto_results
    events = [e for e in results.events() if e.name() == "[memory]" and e.device_type().name == "CPU"]
    level, line = 0, [(0, 0)]
    for event in sorted(events, key=lambda e: e.start_ns()):
        level += event.nbytes()
        line.append((level, event.nbytes()))
    return line
