"""One measurement: what a call is in each mode, latency and its limits, memory, and what cannot be done."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from kinelite.bench import calls, machine
from kinelite.bench.case import Case
from kinelite.bench.devices import Device, Ready, Unsupported, find, names
from kinelite.bench.measure import _called, latency, measure, out_of_memory
from kinelite.bench.turns import FEWEST
from kinelite.errors import UsageError
from kinelite.models.movinet import MovinetStream

SMALL = Case(model="movinet_a0", mode="single", frames=4, size=48, warmup=2, runs=4, limit_s=600)
STREAM = replace(SMALL, model="movinet_a0_stream", mode="stream")


@pytest.mark.parametrize("name", names())
def test_every_device_says_what_it_can_do(name: str) -> None:
    device = find(name)
    assert isinstance(device, Device)
    assert device.MODES
    assert device.PRECISIONS
    missing = device.missing()
    assert missing is None or len(missing) > 20


def test_an_unknown_device_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"Unknown device 'cud'\. Nearest: cuda"):
        find("cud")


@pytest.mark.parametrize("mode", ["train", "batch", "single", "decode", "clip_to_label"])
def test_a_measurement_has_latency_memory_and_cost(mode: Any) -> None:
    found = measure(replace(SMALL, mode=mode, batch=2 if mode in ("train", "batch") else 1))
    assert (found.status, found.message) == ("ok", "")
    fields = found.fields
    assert len(fields["samples_ms"]) == fields["runs"] == 4
    assert fields["warmup"] == 2
    assert fields["latency_ms_mean"] == pytest.approx(statistics.fmean(fields["samples_ms"]), rel=1e-3)
    assert 0 < fields["latency_ms_p10"] <= fields["latency_ms_median"] <= fields["latency_ms_p90"]
    assert fields["params_m"] == pytest.approx(2.702, abs=1e-3)
    assert fields["weights_mib"] == pytest.approx(fields["params_m"] * 4e6 / 2**20)
    assert fields["gmacs"] > 0
    assert fields["peak_memory_gib"] > fields["tensors_gib"] > fields["weights_mib"] / 1024
    assert fields["device_name"]


def test_a_stream_counts_frames() -> None:
    fields = measure(STREAM).fields
    assert fields["figures"]["frames_per_s"] == pytest.approx(1e3 / fields["latency_ms_mean"])


def test_a_training_step_changes_the_weights_and_inference_does_not() -> None:
    for mode, changes in (("train", True), ("batch", False)):
        made = calls.build(replace(SMALL, mode=mode, batch=2), torch.device("cpu"))  # type: ignore[arg-type]
        before = [p.clone() for p in made.model.parameters()]
        made.call()
        same = [torch.equal(a, b) for a, b in zip(before, made.model.parameters(), strict=True)]
        assert all(same) is not changes


def test_a_stream_carries_its_state_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    step = MovinetStream.step
    monkeypatch.setattr(MovinetStream, "step", lambda model, f, s: (given.append(s), step(model, f, s))[1])
    call = calls.build(STREAM, torch.device("cpu")).call
    call()
    call()
    assert given[0] is None
    assert given[1] is not None


def test_mixed_precision_computes_in_it() -> None:
    logits = calls.build(replace(SMALL, precision="bf16"), torch.device("cpu")).call()
    assert logits.dtype is torch.bfloat16  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "stream"}, "does not take one frame at a time"),
        ({"precision": "int8"}, "'cpu' has no precision 'int8'; it has fp32, bf16, fp16"),
        ({"model": "swin3d_t", "frames": 0}, "frames must be 1 or more"),
        ({"mode": "decode", "clip": "no-such-file.mp4"}, "no-such-file.mp4"),
    ],
)
def test_what_cannot_be_done_is_an_outcome_with_the_reason(changes: Mapping[str, Any], message: str) -> None:
    found = measure(replace(SMALL, **changes))
    assert found.status == "unsupported"
    assert message in found.message


def test_a_batch_that_no_memory_holds_is_out_of_memory() -> None:
    found = measure(replace(SMALL, mode="batch", batch=10**9))
    assert found.status == "oom"
    assert "batch 1000000000 does not fit" in found.message


def test_out_of_memory_is_told_from_other_errors() -> None:
    assert out_of_memory(MemoryError())
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_latency_of_known_samples() -> None:
    found = latency([float(value) for value in range(1, 102)])
    assert (found["latency_ms_p10"], found["latency_ms_median"], found["latency_ms_p90"]) == (11, 51, 91)
    assert found["latency_ms_mean"] == 51
    assert found["spread"] == pytest.approx(80 / 51)


def ready(seconds: float) -> Ready:
    return Ready(lambda: time.sleep(seconds), dict)


def test_a_slow_call_is_called_fewer_times_and_the_record_says_so() -> None:
    fields = _called(replace(SMALL, warmup=10, runs=100, limit_s=0.1), ready(0.02))
    assert FEWEST <= fields["runs"] < 10
    assert fields["warmup"] < 5
    assert any("the time limit of 0.1 s" in note for note in fields["notes"])
    assert _called(replace(SMALL, runs=100, limit_s=0.001), ready(0.02))["runs"] == FEWEST


def test_a_quick_call_is_called_as_often_as_asked() -> None:
    fields = _called(replace(SMALL, warmup=3, runs=7, limit_s=60), ready(0.001))
    assert (fields["warmup"], fields["runs"]) == (3, 7)
    assert not any("time limit" in note for note in fields["notes"])


def test_an_unsteady_latency_is_flagged() -> None:
    waits = iter([0.0, 0.0] + [0.001, 0.02] * 4)
    fields = _called(replace(SMALL, warmup=2, runs=8), Ready(lambda: time.sleep(next(waits)), dict))
    assert any(note.startswith("unsteady") for note in fields["notes"])


def test_other_load_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    # The counter of all cores runs four times as fast as the clock: four cores are busy, and not with this.
    monkeypatch.setattr(machine, "busy_cpu_s", lambda: 4 * time.perf_counter())
    notes = _called(SMALL, ready(0.01))["notes"]
    assert any("other processes kept" in note and "cores busy" in note for note in notes)


def test_own_work_is_not_other_load(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(machine, "busy_cpu_s", lambda: sum(os.times()[:4]))
    assert not any("other processes" in note for note in _called(SMALL, ready(0.01))["notes"])


def test_a_missing_device_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinelite.bench.devices.cuda.missing", lambda: "there is no GPU. See: kinelite doctor")
    assert measure(replace(SMALL, device="cuda")).message == "there is no GPU. See: kinelite doctor"


def test_what_a_device_cannot_prepare_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(case: Case) -> Ready:
        raise Unsupported("no such operator: einsum")

    monkeypatch.setattr("kinelite.bench.devices.cpu.prepare", refuse)
    found = measure(SMALL)
    assert (found.status, found.message) == ("unsupported", "no such operator: einsum")
