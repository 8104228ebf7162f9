"""kinelite recommend --max-latency-ms 50 --device cpu"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kinelite.cli import parse
from kinelite.errors import UsageError

if TYPE_CHECKING:
    from kinelite.records import BenchRecord
    from kinelite.report.benchmark.accuracy import Scores
    from kinelite.report.recommend.estimate import Device
    from kinelite.report.recommend.request import Candidate, Figure, Request, Verdict

USUAL = ("results/bench", "runs")
"""Where records are looked for when none are named."""


@dataclass(frozen=True)
class RecommendFlags:
    """Models that fit a budget on a device: the Pareto front of latency, memory and accuracy, and why each other model
    is not on it. What was measured on the device counts; the rest is predicted and labelled so.

    Example: kinelite recommend --max-latency-ms 50 --max-memory 8GiB --device cpu --data ssv2
    """

    max_latency_ms: float | None = None
    """Milliseconds of a call: a clip, a batch of 32, a training step at batch 8."""
    max_memory: str | None = None
    """Memory at the peak of a call: 8GiB, 8GB, 800MiB."""
    min_accuracy: float | None = None
    """Top-1 in per cent (60), or as a share (0.6)."""
    train_hours: float | None = None
    """Most hours of training."""
    mode: Literal["single", "batch", "train"] = "single"
    """single: one clip. batch: inference of 32. train: a training step."""
    device: str = "auto"
    """cpu, cuda, mps or a runtime of this machine, or the name of another device: 'rtx 3090', 'a100-40gb'."""
    precision: str | None = None
    """fp32, bf16, fp16, int8; by default the fastest that was measured and fits."""
    data: str | None = None
    """Set that accuracy is for: kinetics400, ssv2, epic100, or one of your runs (default: that of your runs, else
    ssv2)."""
    clips: int | None = None
    """Training clips for --train-hours, in place of those of --data."""
    epochs: int | None = None
    """Epochs for --train-hours, in place of the published epochs to convergence."""
    models: tuple[str, ...] = ("lightweight",)
    """Names, patterns ('movinet*'), or 'lightweight' for the paper's thirteen."""
    records: tuple[Path, ...] = ()
    """Files or folders of measurements, and run folders for their accuracy (default: results/bench and runs, where they
    are)."""
    measure: bool = False
    """Measure now what is not measured on this device yet; takes minutes per model."""
    out: Path = Path("results/bench/recommend.jsonl")
    """File that --measure adds its records to."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse, read records, measure on request, choose, print."""
    flags: RecommendFlags = parse(RecommendFlags, "kinelite recommend", args)
    from kinelite.bench.pick import pick
    from kinelite.commands.recommend_device import find_device
    from kinelite.report.benchmark.accuracy import published_scores
    from kinelite.report.recommend.choose import choose
    from kinelite.report.recommend.estimate import estimate

    request = _request(flags)
    models = pick(flags.models)
    found, own, problems = _read(flags)
    device = find_device(flags.device, flags.precision, found)
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    if flags.measure:
        device = _measured_too(device, models, flags)
    request = replace(request, data=flags.data or _own_set(own))
    candidates = estimate(models, device, request, _gmacs(models, request), own, published_scores())
    verdicts = choose(candidates, request)
    _print(verdicts, device, request)
    return _json(verdicts, device, request, problems)


def measure_now(
    models: Sequence[str], modes: Sequence[str], device: str, precision: str | None, out: Path
) -> list[BenchRecord]:
    """Measure on this machine; each record is added to ``out`` at once."""
    from kinelite.bench.run import bench

    return bench(models, modes=modes, device=device, precisions=[precision or "auto"], out=out)


def _measured_too(device: Device, models: Sequence[str], flags: RecommendFlags) -> Device:
    if device.here is None:
        raise UsageError(f"--measure measures this machine, and '{flags.device}' is not a device of it.")
    modes = [flags.mode, *(["train"] if flags.train_hours is not None and flags.mode != "train" else [])]
    known = {(r.model, r.mode) for r in device.records if flags.precision in (None, r.precision)}
    missing = [model for model in models if any((model, mode) not in known for mode in modes)]
    print(f"Measuring {', '.join(missing) or 'nothing: all of it was measured before'}.", flush=True)
    records = measure_now(missing, modes, device.here, flags.precision, flags.out) if missing else []
    return replace(device, records=[*device.records, *records])


def _request(flags: RecommendFlags) -> Request:
    from kinelite.plan.sizes import GIB, parse_bytes
    from kinelite.report.recommend.request import Request

    numbers = ("max_latency_ms", "min_accuracy", "train_hours", "clips", "epochs")
    for name in numbers:
        value = getattr(flags, name)
        if value is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: give a number above 0.")
    accuracy = flags.min_accuracy
    if accuracy is not None and accuracy > 100:
        raise UsageError(f"--min-accuracy {accuracy:g}: give per cent, such as 60.")
    return Request(
        mode=flags.mode,
        max_latency_ms=flags.max_latency_ms,
        max_memory_gib=parse_bytes(flags.max_memory, "--max-memory") / GIB if flags.max_memory else None,
        min_accuracy=accuracy / 100 if accuracy is not None and accuracy > 1 else accuracy,
        max_train_hours=flags.train_hours,
        clips=flags.clips,
        epochs=flags.epochs,
        precision=flags.precision,
    )


def _read(flags: RecommendFlags) -> tuple[list[BenchRecord], Scores, list[str]]:
    """Measurements, accuracies of own runs, and what could not be read."""
    from kinelite.report.benchmark.accuracy import own_scores
    from kinelite.report.benchmark.load import find_bench, holds_something
    from kinelite.report.load import find_runs

    paths = list(flags.records) or [Path(name) for name in USUAL if Path(name).exists()]
    measured = [path for path in paths if holds_something(find_bench([path]))]
    # What was looked for without being asked may hold nothing.
    runs = find_runs(paths, measured if flags.records else paths) if paths else []
    found = find_bench(paths)
    return [r for r in found.bench if not r.published], own_scores(runs, found.scores), list(found.problems)


def _own_set(own: Scores) -> str:
    return next(iter(own)) if len(own) == 1 else "ssv2"


def _gmacs(models: Sequence[str], request: Request) -> dict[str, float]:
    """Of the models whose own input is that of the request."""
    from kinelite.models import card

    cards = {model: card(model) for model in models}
    asked = (request.frames, request.size)
    return {m: c.gmacs for m, c in cards.items() if c.gmacs is not None and (c.spec.frames, c.spec.size) == asked}


def _print(verdicts: Sequence[Verdict], device: Device, request: Request) -> None:
    from kinelite.report.tables import markdown_table

    known = [verdict.candidate.latency_ms for verdict in verdicts]
    measured = sum(figure is not None and figure.basis == "measured" for figure in known)
    print(f"For {device.name}, mode '{request.mode}', accuracy on {request.data}.")
    print(
        f"{measured} of {len(verdicts)} models are measured there; ~ is predicted, ° published, ' of your own runs.\n"
    )
    chosen = [verdict for verdict in verdicts if verdict.chosen]
    if chosen:
        print(markdown_table([_row(verdict) for verdict in chosen]))
    else:
        print("No model keeps these limits.\n")
    for verdict in chosen:
        _print_basis(verdict.candidate)
    print("Not recommended:")
    for verdict in (v for v in verdicts if not v.chosen):
        print(f"  {verdict.candidate.model:12} {verdict.reason}")
    print(f"\nNext: {_next(verdicts, device, request)}")


def _row(verdict: Verdict) -> dict[str, str]:
    one = verdict.candidate
    latency = _text(one.latency_ms, " ms") if one.latency_ms else _text(one.relative_latency, " x the fastest")
    return {
        "Model": one.model,
        "Latency": latency,
        "Memory": _text(one.memory_gib, " GiB"),
        "Top-1": _text(one.accuracy, " %", 100.0),
        "Training": _text(one.train_hours, " h"),
        "Why": verdict.reason,
    }


def _text(figure: Figure | None, unit: str, factor: float = 1.0) -> str:
    if figure is None:
        return "unknown"
    marks = {"measured": "", "predicted": "~", "published": "°", "own run": "'"}
    return f"{marks[figure.basis]}{figure.value * factor:.4g}{unit}"


def _print_basis(one: Candidate) -> None:
    known = {"latency": one.latency_ms, "memory": one.memory_gib, "accuracy": one.accuracy, "training": one.train_hours}
    for name, figure in known.items():
        if figure is not None:
            print(f"  {one.model} {name}: {figure.basis}, {figure.why}")
    for note in one.notes:
        print(f"  {one.model}: note: {note}")
    print()


def _next(verdicts: Sequence[Verdict], device: Device, request: Request) -> str:
    bases = [v.candidate.latency_ms.basis if v.candidate.latency_ms else "" for v in verdicts if not v.candidate.failed]
    if device.here and any(basis != "measured" for basis in bases):
        return "measure what is predicted: the same command with --measure"
    best = next((v.candidate.model for v in verdicts if v.chosen), None)
    return f"kinelite train lightweight --model {best} --data SPEC" if best else "raise a limit, or --models '*'"


def _json(verdicts: Sequence[Verdict], device: Device, request: Request, problems: Sequence[str]) -> dict[str, Any]:
    every = [asdict(v.candidate) | {"chosen": v.chosen, "reason": v.reason} for v in verdicts]
    return {
        "device": device.name,
        "request": asdict(request),
        "recommended": [verdict.candidate.model for verdict in verdicts if verdict.chosen],
        "models": every,
        "problems": list(problems),
    }
