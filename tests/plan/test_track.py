"""Peaks that can be written down, and the same peaks on real tensors and on tensors without data."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from kinelite.plan.track import Tracker

WIDTH, LAYERS, BATCH = 64, 3, 10
MATRIX, ROW = 4 * WIDTH * WIDTH, 4 * BATCH * WIDTH


def stack() -> nn.Sequential:
    return nn.Sequential(*(nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Tanh()) for _ in range(LAYERS)))


def step(tracker: Tracker, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    video = torch.zeros(BATCH, WIDTH)
    tracker.know([video], "inputs")
    tracker.know(model.parameters(), "weights")
    with tracker:
        loss = model(video).sum()
        tracker.keep_as("activations", ("weights", "inputs", "optimizer"))
        loss.backward()
        tracker.know([p.grad for p in model.parameters() if p.grad is not None], "gradients")
        optimizer.step()
        tracker.know([v for s in optimizer.state.values() for v in s.values() if v.ndim], "optimizer")


@pytest.mark.parametrize("fake", [False, True])
def test_a_stack_of_linear_layers_takes_what_can_be_written_down(fake: bool) -> None:
    with FakeTensorMode() if fake else torch.no_grad(), torch.enable_grad():
        model = stack()
        optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
        tracker = Tracker()
        step(tracker, model, optimizer)
    peak = tracker.peak()
    # At the last update: weights 4P, gradients 4P, two moments 8P, and three temporaries of one matrix.
    assert peak.parts_bytes["weights"] == peak.parts_bytes["gradients"] == LAYERS * MATRIX
    assert peak.parts_bytes["optimizer"] == 2 * LAYERS * MATRIX
    assert peak.total_bytes == pytest.approx(4 * LAYERS * MATRIX + 3 * MATRIX + ROW, abs=100)


def test_frozen_layers_take_neither_gradient_nor_state() -> None:
    model = stack()
    model[0].requires_grad_(False)
    tracker = Tracker()
    step(tracker, model, torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), foreach=False))
    parts = tracker.peak().parts_bytes
    assert parts["gradients"] == (LAYERS - 1) * MATRIX
    assert parts["optimizer"] == 2 * (LAYERS - 1) * MATRIX


def test_what_is_kept_for_the_backward_pass_is_activations() -> None:
    model = stack()
    tracker = Tracker()
    tracker.know(model.parameters(), "weights")
    video = torch.zeros(10 * BATCH * LAYERS, WIDTH)
    tracker.know([video], "inputs")
    with tracker:
        out = model(video)
        tracker.keep_as("activations", ("weights", "inputs"))
    parts = tracker.peak().parts_bytes
    del out
    # Each tanh keeps its result; the last product is still there when the last tanh is done.
    assert parts["activations"] == LAYERS * video.nbytes
    assert parts["workspace"] == video.nbytes
    assert parts["inputs"] == video.nbytes


def test_a_view_takes_nothing_and_a_dead_tensor_is_gone() -> None:
    tracker = Tracker()
    with tracker:
        for _ in range(5):
            a = torch.zeros(1000)
            b = a.view(10, 100).t()
            del a, b
    assert tracker.peak().total_bytes == 4000


def test_sizes_are_rounded_as_the_allocator_does() -> None:
    tracker = Tracker(round_bytes=512)
    with tracker:
        kept = [torch.zeros(1), torch.zeros(129)]
    assert tracker.peak().total_bytes == 512 + 1024
    assert len(kept) == 2


def test_scratch_is_there_while_the_operation_runs() -> None:
    tracker = Tracker(scratch=lambda func, args, result: 1000 if "mm" in str(func) else 0)
    with tracker:
        a = torch.zeros(4, 4)
        _ = a @ a
        assert tracker.peak().total_bytes == 64 + 64 + 1000


def test_operations_are_counted() -> None:
    tracker = Tracker()
    with FakeTensorMode(), tracker:
        weight = torch.zeros(8, 2, 3, 3, requires_grad=True)
        video = torch.zeros(1, 4, 5, 5, requires_grad=True)
        torch.nn.functional.conv2d(video, weight, groups=2, padding=1).sum().backward()
    assert tracker.flops == 3 * 2 * (8 * 25) * (2 * 9)
