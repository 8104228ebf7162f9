"""Latency of two modules in turn, in one process and on one input, so that what else the machine does hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Comparison:
    """Figures of both, in milliseconds per call."""

    ours_ms: float
    """Median over the rounds."""
    theirs_ms: float
    ratio: float
    """Median of ours / theirs, round by round: below 1 ours is faster."""
    ratio_low: float
    """First and ..."""
    ratio_high: float
    """... third quartile of that ratio."""
    rounds: int


def side_by_side(
    ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 15, calls: int = 1, device: str = "cpu"
) -> Comparison:
    """Call both ``calls`` times in each round, the order changing from round to round, after two rounds of warm-up."""
    times: list[tuple[float, float]] = []
    for number in range(-2, rounds):
        pair = (ours, theirs) if number % 2 else (theirs, ours)
        took = [_milliseconds(call, calls, device) for call in pair]
        if number >= 0:
            times.append((took[0], took[1]) if number % 2 else (took[1], took[0]))
    ratios = sorted(a / b for a, b in times)
    quartiles = statistics.quantiles(ratios, n=4) if rounds > 1 else [ratios[0]] * 3
    return Comparison(
        statistics.median(a for a, _ in times), statistics.median(b for _, b in times), quartiles[1], quartiles[0],
        quartiles[2], rounds,
    )  # fmt: skip


def _milliseconds(call: Callable[[], object], calls: int, device: str) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return (time.perf_counter() - began) * 1e3 / calls


def forward(model: torch.nn.Module, video: Tensor) -> Callable[[], object]:
    """One inference of ``model``, without gradient."""

    def call() -> object:
        with torch.inference_mode():
            return model(video)

    return call


def training_step(model: torch.nn.Module, video: Tensor) -> Callable[[], object]:
    """Forward and backward of a sum of squares of the logits, without an optimiser."""

    def call() -> None:
        model.zero_grad(set_to_none=True)
        model(video).square().sum().backward()

    return call
