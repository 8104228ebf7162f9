"""Which device and precision a run uses, and why; how much memory it took."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from kinelite.errors import SetupError, UsageError, unknown
from kinelite.ranks import Ranks, find_ranks

GIB = 1024**3
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Placement:
    """Where a run computes."""

    device: str
    precision: str
    reason: str

    @property
    def fabric_precision(self) -> str:
        """Lightning Fabric's name of the precision."""
        return {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[self.precision]

    @property
    def accelerator(self) -> str:
        """Lightning Fabric's name of the device kind."""
        return self.device.split(":")[0]

    @property
    def indices(self) -> list[int] | int:
        """Lightning Fabric's devices argument."""
        return [int(self.device.split(":")[1])] if ":" in self.device else 1


def place(device: str = "auto", precision: str = "auto") -> Placement:
    """Choose device and precision. Raises UsageError for an unknown one, SetupError when the device is not there."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS, "kinelite train sfa --help")
    chosen, why = _device(device)
    kind = chosen.split(":")[0]
    if precision != "auto":
        return Placement(chosen, precision, f"{why}; {precision} as asked")
    if kind != "cuda":
        return Placement(chosen, "fp32", f"{why}; fp32: mixed precision gains nothing sure there")
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Placement(chosen, "bf16", f"{why}; bf16: the GPU computes in it")
    return Placement(chosen, "fp16", f"{why}; fp16 with loss scaling: the GPU has no bf16")


def _device(asked: str) -> tuple[str, str]:
    kind, _, index = asked.partition(":")
    ranks = find_ranks()
    if ranks.size > 1:
        return _shared_device(asked, ranks)
    if kind not in ("auto", "cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise unknown("device", asked, ["auto", "cpu", "cuda", "cuda:0", "mps"], "kinelite doctor")
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if kind == "auto":
        if cuda:
            return "cuda", f"GPU {torch.cuda.get_device_name(0)} found"
        return (
            ("mps", "Apple GPU found") if mps else ("cpu", f"no GPU found, CPU with {torch.get_num_threads()} threads")
        )
    if kind == "cuda" and (not cuda or int(index or 0) >= torch.cuda.device_count()):
        raise SetupError(
            f"Device '{asked}' asked for, but PyTorch sees {torch.cuda.device_count()} GPUs. See: kinelite doctor"
        )
    if kind == "mps" and not mps:
        raise SetupError("Device 'mps' asked for, but PyTorch sees no Apple GPU. See: kinelite doctor")
    return asked, f"{asked} as asked"


def _shared_device(asked: str, ranks: Ranks) -> tuple[str, str]:
    """The device of one of several processes: each its own GPU, or all of them the CPU."""
    company = (
        f"{ranks.size} processes on {ranks.machines} machine{'s'[: ranks.machines > 1]} as {ranks.launcher} started "
        f"them, this is number {ranks.rank}"
    )
    if asked not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {asked} with {company}: give auto, cpu or cuda. Each process takes its own GPU.")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "cpu" or (asked == "auto" and not found):
        return "cpu", f"{company}; gloo between them: {'as asked' if asked == 'cpu' else 'no GPU found'}"
    if found < ranks.local_size:
        raise SetupError(
            f"{ranks.local_size} processes per machine and {found} GPUs that PyTorch sees there. Start one process per "
            "GPU; under SLURM ask with --gpus-per-node, since --gpus-per-task hides a process's GPU from the others. "
            "See: docs/distributed.md"
        )
    return f"cuda:{ranks.local_rank}", f"{company}; NCCL between their GPUs"


@dataclass(frozen=True)
class PeakMemory:
    """Largest memory since the last reset: allocated on the GPU, or resident in this process on a CPU.

    The resident figure holds the libraries too (about 0.6 GiB) and leaves out the processes that decode.
    """

    device: str

    @property
    def kind(self) -> str:
        """cuda or rss."""
        return "cuda" if self.device.startswith("cuda") else "rss"

    def reset(self) -> None:
        """Begin anew. Where the system cannot (outside Linux), the peak is that of the process so far."""
        if self.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return
        try:
            # proc(5): writing 5 sets the peak resident size back to the current one.
            _CLEAR.write_text("5")
        except OSError:
            return

    def read_gib(self) -> float:
        """Peak in GiB."""
        if self.kind == "cuda":
            return torch.cuda.max_memory_allocated() / GIB
        if _STATUS.exists():
            lines = _STATUS.read_text().splitlines()
            peak_kib = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
            if peak_kib:
                return peak_kib[0] * 1024 / GIB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024) / GIB
