"""Predictions against the allocations that PyTorch's profiler records, for models small enough to run here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kinelite.config import TrainConfig
from kinelite.plan.predict import predict
from kinelite.plan.profiled import profiled_peak_bytes
from kinelite.plan.step import Work, blank_batch, build, prepare, run
from kinelite.plan.track import storages_bytes
from kinelite.recipes import conventional, sfa


def work(config: TrainConfig, stage: int = 0, batch: int = 2, **more: Any) -> Work:
    config = config.resolved()
    return replace(Work(config, config.stages[stage], (400,), batch, batch), **more)


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        (conventional(model="vivit_fe_ti", frames=4, size=112), "train"),
        (conventional(model="vivit_fe_ti", frames=8, size=112), "inference"),
        (sfa(model="vivit_fe_ti", frames=8, size=112), "train"),
        (conventional(model="tsm_mobilenet_v2", frames=4, size=112), "train"),
        (conventional(model="tsm_mobilenet_v2", frames=4, size=96), "inference"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.recipe}-{value.model}",
)
def test_within_5_per_cent_of_the_profiler(config: TrainConfig, mode: Any) -> None:
    one = work(config, stage=len(config.stages) - 1, mode=mode)
    assert predict(one).peak.total_bytes == pytest.approx(profiled_peak_bytes(one), rel=0.05)


def test_more_frames_and_more_clips_take_more() -> None:
    nano = conventional(model="vivit_fe_nano", frames=8)
    peaks = [predict(work(replace(nano, frames=f), batch=b)).peak.total_bytes for f, b in ((16, 4), (32, 4), (32, 8))]
    assert peaks == sorted(set(peaks))


def test_a_frozen_encoder_takes_no_gradient() -> None:
    config = sfa(model="vivit_fe_ti", frames=16, size=64)
    short, long = (predict(work(config, stage)).peak.parts_bytes for stage in (0, 1))
    assert long["gradients"] < short["gradients"]
    assert long["optimizer"] < short["optimizer"] / 2


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_never_holds_the_scores_of_attention(precision: Any) -> None:
    config = conventional(model="vivit_fe_nano", frames=4, size=512)
    one = predict(work(config, batch=1, target="cuda", precision=precision))
    tokens, heads, layers = 1 + (512 // 16) ** 2, 3, 2
    scores_bytes = layers * heads * tokens**2 * (4 if precision == "fp32" else 2)
    assert one.peak.parts_bytes["activations"] < scores_bytes * 2
    assert all(value % 512 == 0 for value in one.peak.parts_bytes.values())


@pytest.mark.slow  # 11 s
def test_sixteen_bits_halve_what_is_kept_but_for_norms() -> None:
    config = conventional(model="vivit_fe_ti", frames=16, size=64)
    full, half = (
        predict(work(config, batch=16, target="cuda", precision=precision)).peak.parts_bytes["activations"]
        for precision in ("fp32", "bf16")
    )
    assert 0.5 * full < half < 0.8 * full


def test_micro_batches_take_the_clips_of_one_pass() -> None:
    config = conventional(model="vivit_fe_nano", frames=16)
    whole, halves = (predict(work(config, batch=8, micro_batch=m, target="cuda")).peak for m in (8, 2))
    assert halves.parts_bytes["activations"] < 0.4 * whole.parts_bytes["activations"]


def test_averaged_weights_and_mixup_are_counted() -> None:
    config = conventional(model="vivit_fe_nano", frames=16)
    plain = predict(work(config)).peak
    more = predict(work(replace(config, optim=replace(config.optim, ema=0.99, mixup=0.2)))).peak
    assert more.parts_bytes["optimizer"] == pytest.approx(1.5 * plain.parts_bytes["optimizer"], rel=0.01)
    assert more.total_bytes > plain.total_bytes


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_optimiser_has_the_state_of_its_second_step(name: Any) -> None:
    config = conventional(model="vivit_fe_nano", frames=4, size=32)
    one = work(replace(config, optim=replace(config.optim, name=name)))
    model = build(one)
    ready = prepare(one, model)
    run(one, ready, *blank_batch(one, model))
    assert predict(one).peak.parts_bytes["optimizer"] == storages_bytes(ready.state())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_computed_again_chooses_as_a_gpu_too(precision: Any) -> None:
    config = conventional(model="vivit_fe_ti", frames=8)
    kept, forgotten = (
        predict(
            work(replace(config, memory=replace(config.memory, recompute=r)), target="cuda", precision=precision)
        ).peak.total_bytes
        for r in (False, True)
    )
    assert forgotten < 0.6 * kept


def test_the_optimiser_of_a_gpu_holds_no_copy_of_all_gradients() -> None:
    config = conventional(model="vivit_fe_ti", frames=2, size=64)
    for name in ("sgd", "adamw"):
        peak = predict(work(replace(config, optim=replace(config.optim, name=name)), batch=1, target="cuda")).peak
        assert peak.parts_bytes["workspace"] < 0.2 * peak.parts_bytes["weights"]
