"""Predicting what was not measured from what was, by a law in logarithms; how wrong it is by leaving one out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FEWEST_FOR_SLOPE = 4
"""Measured models from which the exponent is fitted too; with fewer it is 1."""
FEWEST_FOR_ERROR = 3
Pair = tuple[float, float]


@dataclass(frozen=True)
class Law:
    """y = exp(intercept) * x ** slope."""

    name: str
    """What x is."""
    xs: Mapping[str, float]
    """Model -> x, for every model that can be predicted."""
    slope: float
    intercept: float
    models: int
    """Measured models that it rests on."""
    factor: float | None
    """Every one of them lies within this factor of what the others predict for it; None for fewer than three."""

    def predict(self, model: str) -> float | None:
        """y of a model; None where x is unknown."""
        x = self.xs.get(model)
        return math.exp(self.intercept + self.slope * math.log(x)) if x else None

    def __str__(self) -> str:
        scaled = f"scaled by {self.models} model{'s' * (self.models != 1)} measured on this device"
        error = "how far off is unknown" if self.factor is None else f"within a factor of {self.factor:.2g} for those"
        return f"from {self.name}, {scaled}; {error}"


def fit(name: str, measured: Mapping[str, float], xs: Mapping[str, float], sloped: bool = True) -> Law | None:
    """The law through the models that both have; None where there are none. Without ``sloped`` y is in proportion."""
    pairs = [(math.log(xs[m]), math.log(y)) for m, y in measured.items() if xs.get(m, 0) > 0 and y > 0]
    if not pairs:
        return None
    slope, intercept = _line(pairs, sloped)
    return Law(name, xs, slope, intercept, len(pairs), _left_out_factor(pairs, sloped))


def _line(pairs: Sequence[Pair], sloped: bool) -> Pair:
    xs, ys = zip(*pairs, strict=True)
    if sloped and len(pairs) >= FEWEST_FOR_SLOPE and len(set(xs)) > 1:
        slope, intercept = statistics.linear_regression(xs, ys)
        return slope, intercept
    return 1.0, statistics.fmean(ys) - statistics.fmean(xs)


def _left_out_factor(pairs: Sequence[Pair], sloped: bool) -> float | None:
    if len(pairs) < FEWEST_FOR_ERROR:
        return None
    worst = 0.0
    for index, (x, y) in enumerate(pairs):
        slope, intercept = _line([*pairs[:index], *pairs[index + 1 :]], sloped)
        worst = max(worst, abs(intercept + slope * x - y))
    return math.exp(worst)


def best_first(laws: Sequence[Law | None]) -> list[Law]:
    """The surest first: smaller factors before larger ones, known before unknown ones, else as given."""
    return sorted((law for law in laws if law), key=lambda law: law.factor or math.inf)
