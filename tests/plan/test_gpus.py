"""Cards by name and by memory."""

from __future__ import annotations

import pytest

from kinelite.errors import UsageError
from kinelite.plan.gpus import GPUS, UTILISATION, cards_with, find_gpu, known_gpu
from kinelite.plan.hours import Rate, Work, published, tell


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("rtx 3060", "RTX 3060"),
        ("3060", "RTX 3060"),
        ("NVIDIA GeForce RTX 4060 Ti 16GB", "RTX 4060 Ti 16GB"),
        ("RTX4090", "RTX 4090"),
        ("2080ti", "RTX 2080 Ti"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA H200", "H200"),
    ],
)
def test_by_name(asked: str, name: str) -> None:
    assert find_gpu(asked).name == name


def test_an_unknown_card() -> None:
    assert known_gpu("Voodoo 2") is None
    with pytest.raises(UsageError, match=r"Unknown GPU 'RTX 3061'. Nearest: .*RTX 3060"):
        find_gpu("RTX 3061")


def test_the_slowest_of_a_size_comes_first() -> None:
    names = [gpu.name for gpu in cards_with(12)]
    assert names[0] == "RTX 3060"
    assert "RTX 4070" in names
    assert not cards_with(1000)


def test_rates_are_plausible() -> None:
    assert len({gpu.name for gpu in GPUS}) == len(GPUS)
    for gpu in GPUS:
        assert gpu.half_tflops >= gpu.fp32_tflops > 1
        assert 4 <= gpu.memory_gib <= 200


def test_hours_are_operations_over_the_rate() -> None:
    card = find_gpu("3060")
    work = Work(train_flops=card.half_tflops * 1e12 * UTILISATION * 7200)
    told = tell(work, [], [card, find_gpu("4070")], "bf16")
    assert told.hours == pytest.approx(2)
    assert told.by_card["RTX 4070"] == pytest.approx(2 * 25.5 / 58.3, abs=1e-3)
    assert "35 % (assumed) of the published peak of RTX 3060" in told.basis
    assert published(card, "fp32").flops_per_s == pytest.approx(UTILISATION * 12.7e12)


def test_what_was_measured_comes_first() -> None:
    rates = [Rate(1e12, "measured", "here"), Rate(2e12, "measured", "here")]
    told = tell(Work(3600e12, 7200e12), rates, [find_gpu("3060")], "bf16")
    assert told.hours == pytest.approx(2)
    assert told.basis == "1 TFLOP/s, measured: here"
    nothing = tell(Work(1.0), [], [], "fp32")
    assert nothing.hours is None
    assert "--calibrate" in nothing.basis
