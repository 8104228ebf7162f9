"""What is comparable stands in one column, relative to MoViNet-A0; repeats, smaller batches and failures."""

from __future__ import annotations

from typing import Any

import pytest
from made_bench import CPU, GPU, agreed, made, made_set

from kinelite.report.benchmark.columns import apart, make_columns
from kinelite.report.published import published_relative

A0, X3D = "movinet_a0", "x3d_xs"


@pytest.mark.parametrize(
    "other",
    [
        {"device_name": "Other CPU"},
        {"precision": "bf16"},
        {"compiled": True},
        {"threads": 1},
        {"frames": 8},
        {"size": 112},
        {"batch": 2},
        {"environment": CPU | {"torch": "2.16.0"}},
        {"device": "onnxruntime"},
    ],
    ids=str,
)
def test_what_differs_is_another_column_with_another_name(other: dict[str, Any]) -> None:
    columns = make_columns([made(A0, "single", 10.0), made(X3D, "single", 20.0, **other)])
    assert [list(column.entries) for column in columns] == [[A0], [X3D]]
    assert columns[0].label != columns[1].label
    assert [column.relative(model) for column, model in zip(columns, (A0, X3D), strict=True)] == [1.0, 1.0]


@pytest.mark.parametrize("other", [{"runs": 7}, {"environment": CPU | {"platform": "another kernel"}}], ids=str)
def test_what_does_not_matter_stays_in_one_column(other: dict[str, Any]) -> None:
    (column,) = make_columns([made(A0, "single", 10.0), made(X3D, "single", 20.0, **other)])
    assert column.relative(X3D) == 2.0


def test_the_threads_of_a_gpus_host_do_not_matter() -> None:
    gpu: dict[str, Any] = {"device": "cuda", "device_name": "NVIDIA H200", "environment": GPU}
    (column,) = make_columns([made(A0, "single", 1.0, threads=2, **gpu), made(X3D, "single", 2.0, threads=4, **gpu)])
    assert column.label == "H200, fp32"


def test_relative_latencies_of_the_paper_come_back() -> None:
    for mode in ("train", "batch", "single"):
        (column,) = make_columns(agreed(mode))
        assert {model: column.relative(model) for model in column.entries} == pytest.approx(published_relative(mode))


def test_without_movinet_the_fastest_is_the_reference() -> None:
    (column,) = make_columns([made("nl_r50", "single", 30.0), made(X3D, "single", 20.0)])
    assert column.reference == X3D
    assert column.relative("nl_r50") == 1.5


def test_the_reference_is_movinet_even_where_another_is_faster() -> None:
    (column,) = make_columns([made(A0, "single", 30.0), made(X3D, "single", 15.0)])
    assert column.relative(X3D) == 0.5


def test_a_smaller_batch_is_compared_clip_by_clip() -> None:
    records = [made(A0, "train", 800.0), made(X3D, "train", 400.0, batch=2, asked_batch=8)]
    (column,) = make_columns(records)
    assert column.batch == 8
    assert column.relative(X3D) == pytest.approx(2.0)
    assert column.call_ms(X3D) == pytest.approx(1600.0)


def test_the_newest_counts_wherever_it_stands_and_repeats_are_paired_run_by_run() -> None:
    first, second = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"
    records = [
        made(X3D, "single", 22.0, created=second), made(A0, "single", 10.0, created=first),
        made(X3D, "single", 20.0, created=first), made(A0, "single", 20.0, created=second),
    ]  # fmt: skip
    (column,) = make_columns(records)
    assert column.relative(X3D) == pytest.approx(1.1)
    assert column.repeats(X3D) == pytest.approx([2.0, 1.1])
    assert apart(column.repeats(X3D)) == pytest.approx(2.0 / 1.1 - 1)
    assert column.repeats(A0) == [], "it is relative to itself"


def in_turn(model: str, latency_ms: float, *reference_ms: float, **fields: Any) -> Any:
    """A measurement with turns of MoViNet-A0 between its own."""
    return made(model, "single", latency_ms, figures={"reference": A0, "reference_ms": list(reference_ms)}, **fields)


def test_the_reference_is_the_median_of_all_its_processes_of_a_run() -> None:
    first, second = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"
    records = [
        made(A0, "single", 15.0, created=first), in_turn(X3D, 20.0, 9.0, 10.0, 30.0, created=first),
        in_turn("nl_r50", 400.0, 11.0, 11.0, created=first), in_turn(X3D, 24.0, 12.0, created=second),
    ]  # fmt: skip
    (column,) = make_columns(records)
    assert column.reference_ms(back=1) == pytest.approx(12.5)  # of 10 and 15: the run before has two processes
    assert column.reference_ms() == pytest.approx(12.0)  # of 12, 11 and 15: the newest of each model
    assert column.relative(X3D) == pytest.approx(2.0)
    assert column.relative(A0) == 1.0
    assert column.repeats(X3D) == pytest.approx([20 / 12.5, 2.0])


def test_a_model_that_was_measured_alone_is_relative_to_what_was_called_in_turn() -> None:
    (column,) = make_columns([in_turn(X3D, 20.0, 8.0, 8.0, "damaged")])  # type: ignore[arg-type]
    assert (column.reference, column.relative(X3D)) == (A0, 2.5)
    (column,) = make_columns([in_turn(X3D, 40.0, 16.0, batch=2)])
    assert column.relative(X3D) == 2.5


def test_one_run_is_no_repeat() -> None:
    assert apart([2.0]) is None
    assert apart([]) is None


def test_a_later_failure_is_told_and_does_not_hide_the_measurement() -> None:
    later = made(A0, "single", status="failed", message="killed", created="2026-02-01T00:00:00+00:00")
    (column,) = make_columns([made(A0, "single", 10.0), later])
    assert column.relative(A0) == 1.0
    entry = column.entries[A0]
    assert entry.failure is not None
    assert entry.failure.message == "killed"


def test_a_batch_that_was_halved_until_it_fits_is_no_failure() -> None:
    steps = [
        made(A0, "train", status="oom", created="2026-01-01T00:00:00+00:00"),
        made(A0, "train", status="oom", batch=4, asked_batch=8, created="2026-01-01T00:00:01+00:00"),
        made(A0, "train", 300.0, batch=2, asked_batch=8, created="2026-01-01T00:00:02+00:00"),
    ]
    (column,) = make_columns(steps)
    assert column.entries[A0].failure is None
    assert len(column.entries[A0].failures) == 2


def test_a_failure_that_does_not_know_its_device_stands_beside_its_peers() -> None:
    failed = made(X3D, "single", status="failed", device_name="", threads=None, message="killed")
    (column,) = make_columns([made(A0, "single", 10.0), failed])
    assert set(column.entries) == {A0, X3D}


def test_labels_say_what_tells_columns_apart_and_nothing_more() -> None:
    newer = made_set(1, environment=CPU | {"torch": "2.16.0"})
    labels = [column.label for column in make_columns([*made_set(), *newer]) if column.mode == "single"]
    assert labels == ["AMD EPYC, fp32, 2 threads, torch 2.15.0", "AMD EPYC, fp32, 2 threads, torch 2.16.0"]
