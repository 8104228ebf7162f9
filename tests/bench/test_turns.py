"""Calls in turn with a reference's: the ratio holds while the machine gets slower, and nothing of it is counted."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, replace

import pytest

from kinelite.bench import machine, reference, turns
from kinelite.bench.case import Case
from kinelite.bench.machine import Watch
from kinelite.bench.measure import measure
from kinelite.bench.reference import NoReference, Reference
from kinelite.bench.turns import FEWEST, sampled, turn_ms

SMALL = Case(
    model="movinet_a2", mode="single", frames=4, size=48, warmup=1, runs=8, limit_s=600, reference="movinet_a0"
)


@dataclass
class Machine:
    """A clock that calls move on; it gets slower with every second."""

    now_s: float = 0.0

    def call(self, took_s: float) -> None:
        self.now_s += took_s * (1 + self.now_s / 100)


@pytest.fixture
def slowing(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    monkeypatch.setattr(turns.time, "perf_counter", lambda: found.now_s)
    return found


def test_a_machine_that_gets_slower_does_not_change_the_ratio(slowing: Machine) -> None:
    def reference(least_s: float) -> float:
        return sorted(samples := turn_ms(lambda: slowing.call(0.02), least_s))[len(samples) // 2]

    found = sampled(lambda: slowing.call(0.1), 100, 600, reference)
    assert found.samples_ms[-1] / found.samples_ms[0] > 1.15
    assert len(found.ratios) > 10
    assert found.ratios == pytest.approx([5.0] * len(found.ratios), rel=0.01)
    assert len(found.reference_ms) == len(found.ratios) + 1


def test_turns_end_with_the_calls_that_were_asked_for_or_with_the_time(slowing: Machine) -> None:
    assert len(sampled(lambda: slowing.call(0.01), 77, 600, lambda s: 1.0).samples_ms) == 77
    slow = sampled(lambda: slowing.call(30), 100, 1, lambda s: slowing.call(5) or 1.0)
    assert len(slow.samples_ms) == len(slow.ratios) == FEWEST
    assert len(sampled(lambda: slowing.call(30), 2, 1, lambda s: 1.0).samples_ms) == 2


def test_the_first_call_of_a_turn_does_not_count_where_there_are_others(slowing: Machine) -> None:
    waits = iter([5.0, *[0.1] * 20])
    assert max(turn_ms(lambda: slowing.call(next(waits)), 6)) < 200
    assert len(turn_ms(lambda: slowing.call(9), 1)) == 1


def test_a_measurement_in_turn_with_a_process_of_its_own() -> None:
    found = measure(SMALL)
    assert (found.status, found.fields["notes"]) == ("ok", [n for n in found.fields["notes"] if "in turn" not in n])
    figures = found.fields["figures"]
    assert figures["reference"] == "movinet_a0"
    assert len(figures["reference_ms"]) == len(figures["relative_per_turn"]) + 1
    assert found.fields["relative_latency"] == pytest.approx(statistics.median(figures["relative_per_turn"]), rel=1e-3)
    if len(figures["relative_per_turn"]) == 1:  # eight calls of this size are one turn, unless the machine is held up
        over = found.fields["latency_ms_median"] / statistics.fmean(figures["reference_ms"])
        assert found.fields["relative_latency"] == pytest.approx(over, rel=1e-3)


def test_a_model_is_not_its_own_reference() -> None:
    fields = measure(replace(SMALL, model="movinet_a0")).fields
    assert fields["relative_latency"] is None
    assert "reference" not in fields["figures"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("", "its process ended"),
        ("print('\"MemoryError: 3 GiB\"', flush=True)", "MemoryError: 3 GiB"),
        ("input(); print('[]', flush=True); input(); print('[1.5]', flush=True)", "its process ended"),
    ],
)
def test_without_a_reference_the_measurement_is_made_all_the_same(
    code: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "COMMAND", (sys.executable, "-c", code))
    fields = measure(replace(SMALL, runs=3)).fields
    assert fields["notes"][0] == f"movinet_a0 was not called in turn: {why}"
    assert fields["runs"] == 3
    assert fields["relative_latency"] is None


def test_a_reference_says_why_it_cannot() -> None:
    with pytest.raises(NoReference, match=r"UsageError|Unsupported"):
        Reference(replace(SMALL, reference="swin3d_t", frames=0))


def test_what_others_do_in_between_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"s": 0.0}
    monkeypatch.setattr(machine.time, "perf_counter", lambda: clock["s"])
    monkeypatch.setattr(machine, "busy_cpu_s", lambda: 2 * clock["s"])
    monkeypatch.setattr(machine, "used_energy_j", lambda device: 30 * clock["s"])
    monkeypatch.setattr(machine.os, "times", lambda: (clock["s"], 0.0, 0.0, 0.0, 0.0))
    watch = Watch("cpu")
    clock["s"] = 2.0
    with watch.leaving_out():
        clock["s"] = 12.0
    clock["s"] = 14.0
    assert watch.spent_j() == 120.0
    assert watch.other_cores() == 1.0
    assert time.perf_counter() == 14.0
