"""kinelite bench MODEL..."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from kinelite.cli import parse
from kinelite.records import BenchRecord, plain


@dataclass(frozen=True)
class Batches:
    """Clips of a call."""

    train: int = 8
    """Of a training step."""
    batch: int = 32
    """Of batch inference."""


@dataclass(frozen=True)
class BenchFlags:
    """Latency, memory and cost of models on a device, each measured in a fresh process, as the lightweight paper does.

    Example: kinelite bench x3d_xs movinet_a0 --modes train batch single --out results/bench.jsonl
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Names, patterns ('movinet*'), or 'lightweight' for the paper's thirteen."""
    modes: tuple[Literal["train", "batch", "single", "decode", "clip_to_label", "stream"], ...] = (
        "train",
        "batch",
        "single",
    )
    """train: forward, loss, backward, step. batch, single: inference. decode: frames of a file. clip_to_label: file to
    class. stream: one frame more."""
    device: str = "cpu"
    """What runs the models; `kinelite doctor` says what this machine has."""
    precision: tuple[str, ...] = ("auto",)
    """auto, fp32, bf16, fp16 (autocast in PyTorch), int8 where a runtime has it; several are measured in turn."""
    compile: Literal["no", "yes", "both"] = "no"
    """Through torch.compile."""
    batches: Batches = field(default_factory=Batches)
    """Halved until it fits where it does not."""
    frames: int = 16
    """Frames of a clip."""
    size: int = 224
    """Height and width in pixels."""
    warmup: int = 10
    """Calls before those that count."""
    runs: int = 100
    """Calls that count."""
    limit_s: float = 120.0
    """Seconds of calling after which fewer calls have to do; the record says so."""
    threads: int | None = None
    """Threads of the CPU's kernels."""
    clip: Path | None = None
    """Video file for the modes that read one (default: a clip that is drawn)."""
    reference: str = "auto"
    """Model that is called in turn with each, so that relative latencies hold whenever they are measured; 'none': none;
    'auto': movinet_a0, not on a GPU."""
    out: Path | None = None
    """File of JSON lines that each record is appended to as soon as it is measured."""
    skip_done: bool = False
    """Leave out what --out holds already, measured on this machine with these versions."""


def main(args: list[str]) -> dict[str, Any]:
    """Measure, print a line for each measurement and a table."""
    flags: BenchFlags = parse(BenchFlags, "kinelite bench", args)
    from kinelite.bench.run import bench

    records = bench(
        flags.models,
        flags.modes,
        flags.device,
        flags.precision,
        compiled={"no": (False,), "yes": (True,), "both": (False, True)}[flags.compile],
        batches={"train": flags.batches.train, "batch": flags.batches.batch},
        out=flags.out,
        skip_done=flags.skip_done,
        reference=None if flags.reference == "none" else flags.reference,
        said=lambda text: print(text, flush=True),
        frames=flags.frames,
        size=flags.size,
        warmup=flags.warmup,
        runs=flags.runs,
        limit_s=flags.limit_s,
        threads=flags.threads,
        clip=None if flags.clip is None else str(flags.clip),
    )
    _print(records)
    if flags.out:
        print(f"Records: {flags.out}. Next: kinelite report {flags.out}")
    return {"records": [plain(record) for record in records], "out": str(flags.out or "")} | _failed(records)


def _failed(records: list[BenchRecord]) -> dict[str, Any]:
    """Exit code 1 where a model has no measurement at all in a mode that it was asked for."""
    wanted = {(r.model, r.mode, r.precision, r.compiled) for r in records}
    found = {(r.model, r.mode, r.precision, r.compiled) for r in records if r.status == "ok"}
    return {"exit_code": 1} if wanted - found else {}


def _print(records: list[BenchRecord]) -> None:
    """The measurements once more, side by side."""
    from rich.console import Console
    from rich.table import Table

    columns = ("model", "mode", "precision", "batch", "mean ms", "p90 ms", "x ref.", "GiB", "GMACs", "M params")
    table = Table(*columns, box=None, pad_edge=False)
    for record in records:
        if record.status == "ok":
            precision = record.precision + (", compiled" if record.compiled else "")
            table.add_row(record.model, record.mode, precision, str(record.batch), *_numbers(record))
    if table.row_count:
        Console().print(table)


def _numbers(record: BenchRecord) -> list[str]:
    found = {
        "latency_ms_mean": 1,
        "latency_ms_p90": 1,
        "relative_latency": 2,
        "peak_memory_gib": 2,
        "gmacs": 2,
        "params_m": 1,
    }
    values = [(getattr(record, name), digits) for name, digits in found.items()]
    return ["–" if value is None else f"{value:.{digits}f}" for value, digits in values]
