"""The largest number that fits, whatever the shape of what it takes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinelite.plan.largest import largest

SHAPES: list[Callable[[float, int], float]] = [
    lambda slope, n: slope * n,
    lambda slope, n: max(500.0, slope * n),
    lambda slope, n: slope * n * n,
    lambda slope, n: 100 * slope * math.ceil(n / 100),
]


@given(st.sampled_from(SHAPES), st.floats(0.5, 50), st.integers(1, 9), st.integers(1, 4), st.floats(1, 1e6))
def test_it_is_the_last_that_fits(
    shape: Callable[[float, int], float], slope: float, low: int, step: int, limit: float
) -> None:
    high = low + 200 * step
    fitting = [n for n in range(low, high + 1, step) if shape(slope, n) <= limit]
    assert largest(lambda n: shape(slope, n), limit, low, high, step) == max(fitting, default=0)


@pytest.mark.parametrize("fits", [37, 900])
def test_few_questions_where_memory_is_a_straight_line(fits: int) -> None:
    asked: list[int] = []

    def peak(n: int) -> float:
        asked.append(n)
        return 1000.0 + 10.0 * n

    assert largest(peak, 1000.0 + 10.0 * fits, 1, 1024) == fits
    assert len(asked) <= 4


def test_what_cannot_be_is_too_much() -> None:
    assert largest(lambda n: float(n) if n < 70 else math.inf, 1000.0, 1, 1024) == 69
