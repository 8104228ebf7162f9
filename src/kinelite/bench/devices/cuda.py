"""PyTorch on an NVIDIA GPU, synchronised after each call."""

from __future__ import annotations

from typing import Any

from kinelite.bench.case import MODES, Case
from kinelite.bench.devices import Ready

PRECISIONS = ("fp32", "bf16", "fp16")
MODES = MODES
IN_TURN = False


def missing() -> str | None:
    """Why there is no GPU that PyTorch can use."""
    import torch

    return None if torch.cuda.is_available() else "PyTorch sees no NVIDIA GPU here. See: kinelite doctor"


def describe() -> str:
    """The GPU's name."""
    import torch

    return torch.cuda.get_device_name()


def choose() -> str:
    """Mixed precision, as in the lightweight paper: bf16 where the GPU computes in it, else fp16."""
    import torch

    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def prepare(case: Case) -> Ready:
    """The model on the GPU; its peak is what PyTorch allocated and what it held there."""
    import torch

    from kinelite.bench.calls import build
    from kinelite.records import GIB

    made = build(case, torch.device("cuda"))

    def call() -> None:
        made.call()
        torch.cuda.synchronize()

    def memory() -> dict[str, Any]:
        return {
            "peak_memory_gib": torch.cuda.max_memory_allocated() / GIB,
            "memory_kind": "cuda",
            "reserved_memory_gib": torch.cuda.max_memory_reserved() / GIB,
        }

    return Ready(call, memory, torch.cuda.reset_peak_memory_stats, made.facts)
