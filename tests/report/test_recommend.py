"""Recommendations: measured before predicted, every limit, the front, and a reason for each model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_bench import GMACS, agreed, made, made_set

from kinelite.records import BenchRecord
from kinelite.report.benchmark.accuracy import Score, published_scores
from kinelite.report.benchmark.pareto import dominates
from kinelite.report.published import published_models, published_relative
from kinelite.report.recommend.choose import choose
from kinelite.report.recommend.estimate import Device, Rate, estimate
from kinelite.report.recommend.laws import fit
from kinelite.report.recommend.request import Candidate, Figure, Request, Verdict

MODELS = published_models()


def candidates(records: list[BenchRecord], request: Request, own: Any = None, **device: Any) -> dict[str, Candidate]:
    found = estimate(MODELS, Device("d", records, **device), request, GMACS, own or {}, published_scores())
    return {candidate.model: candidate for candidate in found}


def known(latency_ms: float, memory_gib: float, top1: float, model: str = "m", **more: Any) -> Candidate:
    figures = [Figure(value, "measured", "here") for value in (latency_ms, memory_gib, top1)]
    return Candidate(model, *figures, **more)


def by_model(verdicts: list[Verdict]) -> dict[str, Verdict]:
    return {verdict.candidate.model: verdict for verdict in verdicts}


def test_what_was_measured_is_taken_as_it_is() -> None:
    records = made_set()
    found = candidates(records, Request())
    for record in records:
        if record.mode == "single":
            latency, memory = found[record.model].latency_ms, found[record.model].memory_gib
            assert latency is not None
            assert memory is not None
            assert (latency.value, latency.basis) == (record.latency_ms_median, "measured")
            assert (memory.value, memory.basis) == (record.peak_memory_gib, "measured")


def test_what_was_not_measured_follows_published_latencies_scaled_by_what_was() -> None:
    """On a device that is exactly as the paper's, one measured model tells all the others."""
    anchor = [record for record in agreed("single") if record.model == "vtn_r50"]
    found = candidates(anchor, Request())
    for model, relative in published_relative("single").items():
        figure = found[model].latency_ms
        assert figure is not None
        assert figure.value == pytest.approx(60 * relative)
        assert figure.basis == ("measured" if model == "vtn_r50" else "predicted")
    why = found["x3d_xs"].latency_ms.why  # type: ignore[union-attr]
    assert "Koot et al. 2021, Table 2" in why
    assert "scaled by 1 model measured on this device; how far off is unknown" in why


def test_the_surer_law_predicts_and_says_how_sure_it_is() -> None:
    """Latencies exactly in proportion to operations: that law has no error, the published one has a large one."""
    records = [made(m, "single", 10 * GMACS[m]) for m in ("movinet_a0", "x3d_xs", "vtn_r50", "nl_r50", "mvit_s")]
    figure = candidates(records, Request())["timesformer"].latency_ms
    assert figure is not None
    assert figure.value == pytest.approx(10 * GMACS["timesformer"])
    assert figure.why.startswith("from operations (GMACs), scaled by 5 models")
    assert "within a factor of 1 for those" in figure.why


@given(st.floats(-2, 2), st.floats(-3, 3), st.lists(st.floats(0.1, 100), min_size=5, max_size=9, unique=True))
def test_a_power_law_is_found_again(slope: float, intercept: float, xs: list[float]) -> None:
    names = {str(i): x for i, x in enumerate(xs)}
    if max(xs) / min(xs) < 1.5:
        return
    measured = {name: 2.718281828459045**intercept * x**slope for name, x in names.items()}
    law = fit("x", measured, {**names, "new": 7.0})
    assert law is not None
    assert law.predict("new") == pytest.approx(2.718281828459045**intercept * 7.0**slope, rel=1e-3)
    assert law.factor == pytest.approx(1, rel=1e-3)
    assert law.predict("unknown") is None


def test_three_models_tell_the_error_and_two_do_not() -> None:
    xs = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 3.0}
    assert fit("x", {"a": 1.0, "b": 2.0}, xs).factor is None  # type: ignore[union-attr]
    law = fit("x", {"a": 1.0, "b": 2.0, "c": 8.0}, xs)
    assert law is not None
    # By hand: c is left out, a and b say 4 and it is 8.
    assert law.factor == pytest.approx(2.0)
    assert fit("x", {}, xs) is None


def test_without_records_and_rate_only_relative_latency_is_known() -> None:
    found = candidates([], Request())
    assert found["mvit_s"].latency_ms is None
    assert found["mvit_s"].relative_latency == Figure(2.3, "published", "Koot et al. 2021, Table 2")
    verdicts = by_model(choose(list(found.values()), Request()))
    assert {m for m, v in verdicts.items() if v.chosen} == {"movinet_a0", "x3d_xs", "movinet_a2", "timesformer"}
    limited = choose(list(found.values()), Request(max_latency_ms=50.0))
    assert not any(verdict.chosen for verdict in limited)
    assert all("latency unknown" in verdict.reason for verdict in limited)


def test_by_a_rate_no_model_is_faster_than_its_operations_and_the_ratios_are_the_papers() -> None:
    found = candidates([], Request(), rate=Rate(1e12, "1 TFLOP/s"))
    values = {m: c.latency_ms.value for m, c in found.items() if c.latency_ms}
    for model, ms in values.items():
        assert ms >= 2 * GMACS[model] * (1 - 1e-9)
        assert ms / values["movinet_a0"] == pytest.approx(published_relative("single")[model])
    # By hand: TimeSformer is the one that operations hold back most, 2 x 392.07e9 over 1e12.
    assert values["timesformer"] == pytest.approx(784.14)


def test_of_several_precisions_the_fastest_that_fits_counts() -> None:
    slow = made("x3d_xs", "single", 20.0, peak_memory_gib=1.0)
    fast = made("x3d_xs", "single", 10.0, peak_memory_gib=3.0, precision="bf16")
    latency = lambda **limits: candidates([slow, fast], Request(**limits))["x3d_xs"].latency_ms  # noqa: E731
    assert latency().value == 10.0
    assert latency(max_memory_gib=2.0).value == 20.0
    assert latency(precision="fp32").value == 20.0


def test_other_sizes_and_batches_do_not_answer() -> None:
    records = [made("x3d_xs", "single", 5.0, size=112), made("x3d_xs", "train", 5.0, frames=8)]
    assert candidates(records, Request())["x3d_xs"].latency_ms is None


def test_a_model_that_failed_is_excluded_with_its_reason() -> None:
    records = [made("x3d_xs", "single", 5.0), made("swin3d_t", "single", status="unsupported", message="no roll")]
    found = candidates(records, Request())
    verdict = by_model(choose(list(found.values()), Request()))["swin3d_t"]
    assert not verdict.chosen
    assert verdict.reason == "it does not run here (unsupported: no roll)"


def test_hours_are_steps_of_the_published_epochs() -> None:
    found = candidates(agreed("train"), Request(mode="train", data="ssv2"))
    hours = found["movinet_a0"].train_hours
    assert hours is not None
    # By hand: 0.9 s per 8 clips, 168,913 clips, 10 epochs.
    assert hours.value == pytest.approx(0.9 / 8 * 168_913 * 10 / 3600)
    assert "10 epochs to convergence on ssv2" in hours.why
    assert found["mvit_s"].train_hours is None
    asked = candidates(agreed("train"), Request(data="mine", clips=800, epochs=3))["mvit_s"].train_hours
    assert asked is not None
    assert asked.value == pytest.approx(0.9 * published_relative("train")["mvit_s"] * 100 * 3 / 3600)


def test_own_accuracy_comes_before_published() -> None:
    own = {"ssv2": {"x3d_xs": Score(0.7, source="own run")}}
    found = candidates([], Request(data="ssv2"), own)
    assert found["x3d_xs"].accuracy == Figure(0.7, "own run", "own run")
    assert found["movinet_a0"].accuracy == Figure(0.572, "published", "Koot et al. 2021, Table 4b")
    assert candidates([], Request(data="mine"), own)["x3d_xs"].accuracy is None


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"max_latency_ms": 9.0}, "latency 10 ms (measured) is above 9 ms"),
        ({"max_memory_gib": 1.5}, "memory 2 GiB (measured) is above 1.5 GiB"),
        ({"min_accuracy": 0.6}, "accuracy 50 % (measured) is below 60 %"),
        ({"max_train_hours": 5.0}, "training time unknown, so the limit of 5 h cannot be checked"),
    ],
    ids=str,
)
def test_each_limit_excludes_and_says_so(limit: dict[str, float], reason: str) -> None:
    (verdict,) = choose([known(10.0, 2.0, 0.5)], Request(**limit))
    assert not verdict.chosen
    assert verdict.reason.startswith(reason)


def test_a_latency_that_was_disturbed_excludes_with_what_disturbed_it() -> None:
    notes = ("3 calls: the time limit of 6 s", "other processes kept 1.34 cores busy meanwhile")
    model = replace(known(10.0, 2.0, 0.5), notes=notes)
    (verdict,) = choose([model], Request(max_latency_ms=9.0))
    assert verdict.reason == f"latency 10 ms (measured) is above 9 ms; {notes[1]}"
    (verdict,) = choose([model], Request(max_memory_gib=1.0))
    assert notes[1] not in verdict.reason


def test_limits_that_are_just_kept_do_not_exclude() -> None:
    request = Request(max_latency_ms=10.0, max_memory_gib=2.0, min_accuracy=0.5)
    (verdict,) = choose([known(10.0, 2.0, 0.5)], request)
    assert verdict.chosen
    assert verdict.reason == "the fastest and the least memory and the most accurate within the limits"


def test_a_model_without_accuracy_cannot_be_set_beside_others() -> None:
    unknown = Candidate("u", Figure(1.0, "measured", ""), Figure(1.0, "measured", ""))
    verdicts = by_model(choose([known(10.0, 2.0, 0.5), unknown], Request(data="ssv2")))
    assert "its accuracy on ssv2 is unknown" in verdicts["u"].reason
    (alone,) = choose([unknown], Request())
    assert alone.chosen


POINT = st.tuples(*[st.integers(1, 4).map(float)] * 3)


@given(st.lists(POINT, min_size=1, max_size=8))
def test_what_is_chosen_is_the_front_and_every_model_has_a_reason(points: list[tuple[float, float, float]]) -> None:
    models = [known(*point, model=str(i)) for i, point in enumerate(points)]
    verdicts = by_model(choose(models, Request()))
    assert set(verdicts) == {model.model for model in models}
    plain = {str(i): (a, b, -c) for i, (a, b, c) in enumerate(points)}
    for name, verdict in verdicts.items():
        assert verdict.reason
        assert verdict.chosen != any(dominates(other, plain[name]) for other in plain.values())
        if not verdict.chosen:
            better = verdict.reason.partition(" is better")[0]
            assert verdicts[better].chosen or dominates(plain[better], plain[name])
