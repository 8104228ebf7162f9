"""PyTorch on the CPU. The precision other than fp32 is autocast, as in training."""

from __future__ import annotations

from typing import Any

from kinelite.bench.case import MODES, Case
from kinelite.bench.devices import Ready
from kinelite.records import cpu_name

PRECISIONS = ("fp32", "bf16", "fp16")
MODES = MODES
IN_TURN = True


def missing() -> str | None:
    """Never: every machine has one."""
    return None


def describe() -> str:
    """The processor's name."""
    return cpu_name()


def choose() -> str:
    """fp32: mixed precision gains nothing sure on a CPU."""
    return "fp32"


def prepare(case: Case) -> Ready:
    """The model in this process; its peak is the resident set and, beside it, what PyTorch allocated."""
    import torch

    from kinelite.bench.calls import build
    from kinelite.bench.tensors import tensor_peak_gib
    from kinelite.train.device import PeakMemory

    if case.threads:
        torch.set_num_threads(case.threads)
    peak = PeakMemory("cpu")
    made = build(case, torch.device("cpu"))

    def memory() -> dict[str, Any]:
        resident_gib = peak.read_gib()
        return {
            "peak_memory_gib": resident_gib,
            "memory_kind": "rss",
            "tensors_gib": tensor_peak_gib(made.model, made.call),
        }

    return Ready(made.call, memory, peak.reset, made.facts | {"threads": torch.get_num_threads()})
