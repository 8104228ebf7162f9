"""The largest number that fits, by bisection that looks where a straight line says."""

from __future__ import annotations

import math
from collections.abc import Callable

PATIENCE = 6
"""Looks along the line before plain halves: memory is a straight line in most cases, not in all."""


def largest(
    peak_bytes: Callable[[int], int | float], limit_bytes: int | float, low: int, high: int, step: int = 1
) -> int:
    """The largest of ``low, low + step, ...`` up to ``high`` whose peak is within the limit; 0 when ``low`` is not.

    ``peak_bytes`` must not fall; it is infinite for what is impossible. The result and the number after it have both
    been asked for.
    """
    last = (high - low) // step
    below, at_below = 0, peak_bytes(low)
    if at_below > limit_bytes:
        return 0
    above, at_above = last, peak_bytes(low + last * step)
    if at_above <= limit_bytes:
        return low + last * step
    looks = 0
    while above - below > 1:
        looks += 1
        middle = (below + above) // 2
        if looks <= PATIENCE and math.isfinite(at_above):
            middle = below + math.floor((limit_bytes - at_below) / (at_above - at_below) * (above - below))
        middle = min(max(middle, below + 1), above - 1)
        found = peak_bytes(low + middle * step)
        if found <= limit_bytes:
            below, at_below = middle, found
        else:
            above, at_above = middle, found
    return low + below * step
