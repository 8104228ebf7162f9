"""Calls in turn with those of a reference model, so that what the machine does meanwhile happens to both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

FEWEST = 3
"""Calls that count even where they take longer than the time limit."""
TURN_S = 0.5
"""Seconds of calling before it is the other's turn; a slower call is a turn by itself."""
REFERENCE_SHARE = 0.2
"""Of a turn's seconds that the reference gets after it."""
REFERENCE_S = 0.15
"""And never less than this."""
Call = Callable[[], object]


def seconds(call: Call) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def turn_ms(call: Call, least_s: int | float, most: int = 1000) -> list[float]:
    """Milliseconds of the calls of one turn. The first, which finds another's data in the caches, is left out where
    there are three and more."""
    samples: list[float] = []
    began = time.perf_counter()
    while not samples or (len(samples) <= most and time.perf_counter() - began < least_s):
        samples.append(seconds(call) * 1e3)
    return samples[1:] if len(samples) > 2 else samples[:most]


@dataclass
class Sampled:
    """What came of all calls."""

    samples_ms: list[float] = field(default_factory=list)
    """Of each call that counts, in order."""
    ratios: list[float] = field(default_factory=list)
    """Of each turn: its median over that of the reference before and after it; empty without a reference."""
    reference_ms: list[float] = field(default_factory=list)
    """Median of each turn of the reference, the first before all others."""


def sampled(
    call: Call,
    runs: int,
    limit_s: int | float,
    reference: Callable[[int | float], float] | None = None,
    aside: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Sampled:
    """Call until ``runs`` calls count or ``limit_s`` seconds are over, and never fewer than `FEWEST` times.

    Args:
        call: what is measured.
        runs: calls that count.
        limit_s: seconds of calling; those of the reference are not among them.
        reference: calls the reference for that many seconds, and gives the median in milliseconds.
        aside: is entered while the reference is called.
    """
    found, left_s, fewest = Sampled(), limit_s, min(FEWEST, runs)
    if reference is None:
        while len(found.samples_ms) < runs and (left_s > 0 or len(found.samples_ms) < fewest):
            found.samples_ms.append(seconds(call) * 1e3)
            left_s -= found.samples_ms[-1] / 1e3
        return found
    with aside():
        found.reference_ms.append(reference(REFERENCE_S))
    while len(found.samples_ms) < runs and (left_s > 0 or len(found.samples_ms) < fewest):
        began = time.perf_counter()
        turn = turn_ms(call, TURN_S, runs - len(found.samples_ms))
        took_s = time.perf_counter() - began
        with aside():
            found.reference_ms.append(reference(max(REFERENCE_S, REFERENCE_SHARE * took_s)))
        found.samples_ms += turn
        found.ratios.append(statistics.median(turn) / statistics.fmean(found.reference_ms[-2:]))
        left_s -= took_s
    return found
