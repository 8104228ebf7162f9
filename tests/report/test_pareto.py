"""The Pareto front and the paper's normalised mean, by their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinelite.report.benchmark.accuracy import published_scores, summary
from kinelite.report.benchmark.content import make_content
from kinelite.report.benchmark.load import Found
from kinelite.report.benchmark.pareto import dominates, front, normalised_mean

POINTS = st.dictionaries(st.text(min_size=1), st.tuples(*[st.integers(0, 9).map(float)] * 3), min_size=1)


@given(POINTS)
def test_no_point_of_the_front_is_dominated_and_every_other_is(points: dict[str, tuple[float, float, float]]) -> None:
    kept = front(points)
    assert kept
    for name, point in points.items():
        beaten = any(dominates(other, point) for other in points.values())
        assert beaten == (name not in kept)


@given(POINTS)
def test_what_is_dominated_is_dominated_by_the_front(points: dict[str, tuple[float, float, float]]) -> None:
    kept = front(points)
    for name in set(points) - set(kept):
        assert any(dominates(points[other], points[name]) for other in kept)


def test_equal_points_stay_both() -> None:
    assert front({"a": (1.0, 2.0), "b": (1.0, 2.0), "c": (1.0, 3.0)}) == ["a", "b"]


def test_the_mean_is_over_sets_that_are_scaled_to_0_and_1() -> None:
    found = normalised_mean([{"a": 10.0, "b": 20.0, "c": 15.0}, {"a": 5.0, "b": 1.0, "c": 5.0, "d": 2.0}])
    assert found == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.75})
    assert normalised_mean([{"a": 3.0, "b": 3.0}]) == {"a": 0.0, "b": 0.0}
    assert normalised_mean([]) == {}


def test_figure_6_of_the_paper() -> None:
    """Section 4.3: the convolutional baselines have the best ratio; MViT-S was not trained."""
    accuracy = summary(published_scores())
    latency, modes = make_content(Found()).overall(None)
    assert modes == ["train", "batch", "single"]
    assert latency["timesformer"] == pytest.approx((10.2 + 20.1 + 8.77) / 3)
    assert "mvit_s" not in accuracy
    # By hand: swin3d_t is the worst on EPIC-Kitchens (25.9) and 52.3 on SSv2, between 47.5 and 62.7.
    assert accuracy["swin3d_t"] == pytest.approx((52.3 - 47.5) / (62.7 - 47.5) / 2)
    best = front({m: (latency[m], -accuracy[m]) for m in accuracy})
    assert set(best) == {"movinet_a0", "x3d_xs", "movinet_a2"}
