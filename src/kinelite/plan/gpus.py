"""Published figures of GPUs: memory, and peak rates of dense matrix products.

Rates are those of the makers' data sheets and white papers (NVIDIA: Pascal, Volta, Turing, Ampere GA102, Ada AD102,
Hopper and Blackwell), without sparsity, products of 16 bits summed in fp32, in 10^12 operations per second. ``fp32`` is
what PyTorch computes fp32 products with here: TF32 where a card has it. Memory is what the driver shows, in GiB.

They were written down from memory; only RTX 4090 and A100 were compared with published specifications yet. Hours that
follow from them are a first guess, and a calibration replaces them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from kinelite.errors import unknown

UTILISATION = 0.35
"""Share of the published peak that a training step is taken to reach: an assumption, not a measurement."""


@dataclass(frozen=True)
class Gpu:
    """One card."""

    name: str
    memory_gib: float
    fp32_tflops: float
    half_tflops: float
    """In bf16, or in fp16 for a card without bf16."""
    half: Literal["bf16", "fp16"] = "bf16"

    def tflops(self, precision: str) -> float:
        """Published peak in a precision."""
        return self.fp32_tflops if precision == "fp32" else self.half_tflops


GPUS = (
    Gpu("GTX 1080 Ti", 11.0, 11.3, 11.3, "fp16"),
    Gpu("RTX 2060", 6.0, 6.5, 25.8, "fp16"),
    Gpu("RTX 2070", 8.0, 7.5, 29.9, "fp16"),
    Gpu("RTX 2080 Ti", 11.0, 13.4, 53.8, "fp16"),
    Gpu("RTX 3060", 12.0, 12.7, 25.5),
    Gpu("RTX 3070", 8.0, 20.3, 40.6),
    Gpu("RTX 3080", 10.0, 29.8, 59.5),
    Gpu("RTX 3090", 24.0, 35.6, 71.0),
    Gpu("RTX 4060", 8.0, 15.1, 30.2),
    Gpu("RTX 4060 Ti 16GB", 16.0, 22.1, 44.1),
    Gpu("RTX 4070", 12.0, 29.1, 58.3),
    Gpu("RTX 4080", 16.0, 48.7, 97.5),
    Gpu("RTX 4090", 24.0, 82.6, 165.2),
    Gpu("RTX 5070", 12.0, 30.9, 61.7),
    Gpu("RTX 5080", 16.0, 56.3, 112.6),
    Gpu("RTX 5090", 32.0, 104.8, 209.5),
    Gpu("T4", 15.0, 8.1, 65.0, "fp16"),
    Gpu("V100 16GB", 16.0, 15.7, 125.0, "fp16"),
    Gpu("V100 32GB", 32.0, 15.7, 125.0, "fp16"),
    Gpu("A10", 22.5, 62.5, 125.0),
    Gpu("L4", 22.5, 60.0, 121.0),
    Gpu("RTX A6000", 48.0, 77.4, 154.8),
    Gpu("L40S", 45.0, 183.0, 362.0),
    Gpu("A100 40GB", 40.0, 156.0, 312.0),
    Gpu("A100 80GB", 80.0, 156.0, 312.0),
    Gpu("H100", 80.0, 495.0, 989.0),
    Gpu("H200", 140.0, 495.0, 989.0),
)


def find_gpu(name: str) -> Gpu:
    """The card that a name means: 'rtx 3060', '3060', 'NVIDIA GeForce RTX 3060', 'a100-80gb'. Of several that fit the
    one with the shortest name. Raises UsageError with the nearest names."""
    found = known_gpu(name)
    if found is None:
        raise unknown("GPU", name, [gpu.name for gpu in GPUS], "kinelite plan --help, or say --gpu-memory 12GiB")
    return found


def known_gpu(name: str) -> Gpu | None:
    """As `find_gpu`, None for a card that is not on the list."""
    asked = _words(name)
    whole = [gpu for gpu in GPUS if _words(gpu.name) <= asked]
    if whole:
        return max(whole, key=lambda gpu: len(_words(gpu.name)))
    part = [gpu for gpu in GPUS if asked and asked <= _words(gpu.name)]
    return min(part, key=lambda gpu: len(gpu.name)) if part else None


def cards_with(memory_gib: int | float) -> list[Gpu]:
    """Cards of about that memory (within 5 %), the slowest first."""
    near = [gpu for gpu in GPUS if abs(gpu.memory_gib - memory_gib) <= 0.05 * memory_gib]
    return sorted(near, key=lambda gpu: gpu.half_tflops)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]\d+s?|\d+gb|\d+|[a-z]+", name.lower())) - {"nvidia", "geforce", "tesla", "gpu"}
