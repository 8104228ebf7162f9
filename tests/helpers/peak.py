"""Peak of what PyTorch allocates on the CPU, as its profiler records it."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak_bytes(run: Callable[[], object]) -> int:
    """Largest sum of bytes that were allocated and not yet freed within ``run``."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    kineto = found.profiler
    assert kineto is not None
    events = [event for event in kineto.kineto_results.events() if event.name() == "[memory]"]
    assert events
    total = peak = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return peak
