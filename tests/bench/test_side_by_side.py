"""Two calls in turn: who is faster, and by how much."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from kinelite.bench.side_by_side import forward, side_by_side, training_step


def busy(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_ratio_is_ours_over_theirs_whoever_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", time.process_time)  # other work on the machine is not what is tested
    for ours, theirs, ratio in ((0.002, 0.004, 0.5), (0.004, 0.002, 2.0)):
        found = side_by_side(lambda s=ours: busy(s), lambda s=theirs: busy(s), rounds=9)
        assert found.ratio == pytest.approx(ratio, rel=0.35)
        assert found.ratio_low <= found.ratio <= found.ratio_high
        assert (found.ours_ms < found.theirs_ms) == (ratio < 1)


def test_every_round_makes_the_calls_it_says_and_the_order_changes() -> None:
    order: list[str] = []
    found = side_by_side(lambda: order.append("ours"), lambda: order.append("theirs"), rounds=4, calls=3)
    assert (found.rounds, order.count("ours"), order.count("theirs")) == (4, 18, 18)
    assert [order[i] for i in range(0, 36, 6)].count("ours") == 3


def test_inference_has_no_gradient_and_a_training_step_has() -> None:
    model, video = nn.Linear(3, 2), torch.ones(1, 3)
    assert not forward(model, video)().requires_grad  # type: ignore[attr-defined]
    training_step(model, video)()
    assert model.weight.grad is not None
    assert model.weight.grad.any()
