"""PyTorch on an Apple GPU, synchronised after each call."""

from __future__ import annotations

from typing import Any

from kinelite.bench.case import MODES, Case
from kinelite.bench.devices import Ready
from kinelite.records import cpu_name

PRECISIONS = ("fp32", "fp16", "bf16")
MODES = MODES
IN_TURN = False


def missing() -> str | None:
    """Why there is no Apple GPU that PyTorch can use."""
    import torch

    return None if torch.backends.mps.is_available() else "PyTorch sees no Apple GPU here. See: kinelite doctor"


def describe() -> str:
    """The chip's name: its GPU has none of its own."""
    return f"{cpu_name()} GPU"


def choose() -> str:
    """fp32: what the trainer uses there."""
    return "fp32"


def prepare(case: Case) -> Ready:
    """The model on the GPU. It shares the memory of the CPU: what the driver holds for this process is the peak."""
    import torch

    from kinelite.bench.calls import build
    from kinelite.records import GIB

    made = build(case, torch.device("mps"))

    def call() -> None:
        made.call()
        torch.mps.synchronize()

    def memory() -> dict[str, Any]:
        return {
            "tensors_gib": torch.mps.current_allocated_memory() / GIB,
            "reserved_memory_gib": torch.mps.driver_allocated_memory() / GIB,
        }

    return Ready(call, memory, facts=made.facts)
