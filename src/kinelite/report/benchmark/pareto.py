"""What no other is better than in everything, and the lightweight paper's summary of accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether ``one`` is nowhere worse and somewhere better; lower is better in every figure."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front(points: Mapping[str, Sequence[float]]) -> list[str]:
    """Names whose figures none of the others dominates, in the given order; lower is better in every figure, so that
    accuracies go in with a minus. Equal points stay both."""
    others = list(points.values())
    return [name for name, point in points.items() if not any(dominates(other, point) for other in others)]


def normalised_mean(accuracies: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Model -> mean over data sets of its accuracy, 0 for the worst model of a set and 1 for the best (section 4.3 of
    the lightweight paper). Only models that every set has a figure of; a set whose models are all alike gives 0.

    Args:
        accuracies: per data set model -> accuracy in any unit.
    """
    if not accuracies:
        return {}
    scaled = [_min_max(values) for values in accuracies if values]
    common = set.intersection(*(set(values) for values in accuracies))
    return {m: statistics.fmean(values[m] for values in scaled) for m in accuracies[0] if m in common}


def _min_max(values: Mapping[str, float]) -> dict[str, float]:
    low, high = min(values.values()), max(values.values())
    return {model: (value - low) / (high - low) if high > low else 0.0 for model, value in values.items()}
