"""What a plan is for: a kind of device, its memory, and what of it a process takes beside tensors."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from kinelite.errors import SetupError, UsageError
from kinelite.plan.gpus import Gpu, cards_with, find_gpu, known_gpu
from kinelite.plan.sizes import GIB, parse_bytes
from kinelite.records import cpu_name, memory_gib
from kinelite.train.device import place

OUTSIDE_GIB = {"cuda": 1.0, "cpu": 0.6}
"""GiB that a process takes outside of PyTorch's tensors, by kind of device. cuda: the context with its kernels (0.3 to
0.6), workspaces of cuBLAS and cuDNN, and what the allocator cannot use because free pieces are too small. cpu: Python
and the libraries. An assumption; ``--outside`` says otherwise."""


@dataclass(frozen=True)
class Target:
    """A device, which need not be here."""

    kind: Literal["cpu", "cuda"]
    memory_bytes: int
    outside_bytes: int
    name: str
    """For the first line: what it is and how it was chosen."""
    gpu: Gpu | None = None
    """The card, where it is a known one."""
    here: str | None = None
    """Name of the device of this machine, where that is what is planned for."""

    @property
    def limit_bytes(self) -> int:
        """What is left for tensors."""
        return self.memory_bytes - self.outside_bytes

    def cards(self) -> list[Gpu]:
        """Cards whose published rates tell how long it takes."""
        if self.gpu:
            return [self.gpu]
        return cards_with(self.memory_bytes / GIB) if self.kind == "cuda" and not self.here else []


def choose_target(
    gpu_memory: str | None = None,
    cpu_memory: str | None = None,
    gpu: str | None = None,
    device: str = "auto",
    outside: str | None = None,
) -> Target:
    """The device that is asked for; without a word the one of this machine.

    ``gpu_memory`` with ``device`` naming a GPU of this machine plans for that one with less memory than it has. Raises
    UsageError for what contradicts.
    """
    if cpu_memory and (gpu_memory or gpu):
        raise UsageError("--cpu-memory plans for a CPU, --gpu-memory and --gpu for a GPU: give one of them.")
    if gpu or gpu_memory:
        card = find_gpu(gpu) if gpu else None
        assert card or gpu_memory
        size = parse_bytes(gpu_memory, "--gpu-memory") if gpu_memory else int((card.memory_gib if card else 0) * GIB)
        if device.startswith("cuda") and card is None:
            name = torch.cuda.get_device_name(torch.device(place(device).device))
            said = f"the GPU of this machine, {name}, with {size / GIB:.4g} GiB of its memory"
            return _target("cuda", size, outside, said, gpu=known_gpu(name), here=name)
        named = f"{card.name} (published figures), " if card else ""
        return _target("cuda", size, outside, f"a GPU: {named}{size / GIB:.4g} GiB", gpu=card)
    if cpu_memory:
        size = parse_bytes(cpu_memory, "--cpu-memory")
        return _target("cpu", size, outside, f"a CPU with {size / GIB:.4g} GiB", here=_cpu())
    found = place(device)
    if found.accelerator == "cuda":
        at = torch.device(found.device)
        name, size = torch.cuda.get_device_name(at), torch.cuda.get_device_properties(at).total_memory
        return _target("cuda", size, outside, f"the GPU of this machine, {name}", gpu=known_gpu(name), here=name)
    size = int((memory_gib() or 0) * GIB)
    if not size:
        raise SetupError("How much memory this machine has is unknown. Say so: --cpu-memory 16GiB")
    return _target("cpu", size, outside, f"the CPU of this machine with {size / GIB:.4g} GiB", here=_cpu())


def _cpu() -> str:
    return f"{cpu_name()}, {torch.get_num_threads()} threads"


def _target(
    kind: Literal["cpu", "cuda"],
    size: int,
    outside: str | None,
    name: str,
    gpu: Gpu | None = None,
    here: str | None = None,
) -> Target:
    taken = parse_bytes(outside, "--outside") if outside else int(OUTSIDE_GIB[kind] * GIB)
    if taken >= size:
        raise UsageError(
            f"{size / GIB:.4g} GiB is no more than the {taken / GIB:.4g} GiB that a process takes beside tensors "
            "(--outside). Plan for more memory."
        )
    return Target(kind, size, taken, name, gpu, here)


def free_memory_bytes(device: str) -> int:
    """Memory that this process could still take on a device of this machine, with what it holds for tensors there."""
    kind = device.split(":")[0]
    if kind == "cuda":
        free, _ = torch.cuda.mem_get_info(torch.device(device))
        return free + torch.cuda.memory_reserved(torch.device(device))
    if kind == "mps":
        return int(torch.mps.recommended_max_memory())
    return _available_bytes()


def _available_bytes() -> int:
    """Of the machine, or of the container when it allows less."""
    found = [int((memory_gib() or 4) * GIB)]
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min(found)
