"""What is measured: a model, a mode, a device, and how long. No torch: the parent process never loads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Mode = Literal["train", "batch", "single", "decode", "clip_to_label", "stream"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
MODES: tuple[str, ...] = get_args(Mode)
PRECISIONS: tuple[str, ...] = get_args(Precision)
BATCHES = {"train": 8, "batch": 32}
"""The lightweight paper's batches (section 3.2); every other mode takes one clip, or one frame, at a time."""
LIGHTWEIGHT = (
    *("nl_r50", "tea_r50", "i3d_bert", "vtn_r50", "vtn_eff", "timesformer", "vivit_fe_s", "swin3d_t", "mvit_s"),
    *("tsm_r50", "x3d_xs", "movinet_a0", "movinet_a2"),
)
"""The thirteen models of the lightweight paper, in the order of its Table 1."""
RELATIVE = ("train", "batch", "single")
"""Modes whose latencies the paper compares."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One measurement that a process of its own makes."""

    model: str
    mode: Mode
    device: str = "cpu"
    precision: Precision = "fp32"
    batch: int = 1
    """Clips of a call."""
    frames: int = 16
    size: int = 224
    compiled: bool = False
    warmup: int = 10
    """Calls before those that count."""
    runs: int = 100
    """Calls that count."""
    limit_s: int | float = 120
    """Seconds of calling after which fewer calls have to do; never fewer than `kinelite.bench.measure.FEWEST`."""
    threads: int | None = None
    """Threads of the CPU's kernels; None: as many as PyTorch chooses."""
    clip: str | None = None
    """Video file of the modes that read one."""
    reference: str | None = None
    """A model that another process calls in turn with this one: `kinelite.bench.turns`."""


@dataclass
class Outcome:
    """What came of a case: the fields of a `BenchRecord` that the measuring process knows."""

    status: Literal["ok", "oom", "unsupported", "failed"] = "ok"
    message: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
