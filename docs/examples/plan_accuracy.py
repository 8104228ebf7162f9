"""Planned peak memory beside the measured one, for all registered models, as records: docs/plan-accuracy.md.

    python docs/examples/plan_accuracy.py results/plan/cpu.jsonl
    python docs/examples/plan_accuracy.py results/plan/cuda.jsonl --device cuda --precision bf16

On a CPU it is what PyTorch's profiler counts in one step, on a GPU torch.cuda.max_memory_allocated of two. Each
measurement has a process of its own. Those that the file has for the same versions are not repeated, so an interrupted
run continues; --again plans them anew and keeps what was measured.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

import kinelite as kl
from kinelite.config import MemoryConfig, OptimConfig
from kinelite.errors import UsageError
from kinelite.plan.predict import predict
from kinelite.plan.profiled import allocated_peak_bytes, profiled_peak_bytes
from kinelite.plan.step import Work
from kinelite.recipes import conventional, sfa
from kinelite.records import GIB, BenchRecord, append_jsonl, environment, read_jsonl, replace_bytes

FAMILIES = ("nl_r50", "tea_r50", "i3d_bert", "vtn_r50", "vtn_eff", "timesformer", "vivit_fe_s", "swin3d_t", "mvit_s")
FAMILIES += ("tsm_r50", "x3d_xs", "movinet_a0", "movinet_a2", "vivit_fe_l")
VERSIONS = ("kinelite", "torch", "timm", "cpu", "cuda")
HUGE = ("vivit_fe_h", "vivit_fe_g")
"""Models whose weights, gradients and two moments of AdamW leave no room for activations in 16 GiB."""


@dataclass(frozen=True)
class Case:
    """What is planned and measured."""

    model: str
    mode: Literal["inference", "conventional", "sfa online", "sfa stored"]
    batch: int
    frames: int = 16
    size: int = 224
    optimizer: Literal["adamw", "sgd", "sgd without momentum"] = "adamw"
    recompute: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: Literal["cpu", "cuda"] = "cpu"

    def work(self) -> Work:
        """The step, of the last stage of its recipe."""
        recipe = sfa if self.mode.startswith("sfa") else conventional
        momentum = 0.0 if self.optimizer == "sgd without momentum" else 0.9
        config = recipe(
            model=self.model,
            frames=self.frames,
            size=self.size,
            batch=self.batch,
            optim=OptimConfig("adamw" if self.optimizer == "adamw" else "sgd", momentum=momentum),
            memory=MemoryConfig(recompute=self.recompute),
        ).resolved()
        mode: Any = "inference" if self.mode == "inference" else "train"
        work = Work(config, config.stages[-1], (400,), self.batch, self.batch, mode, self.precision, self.device)
        return replace(work, stored=self.mode == "sfa stored")


def cases(models: list[str], batches: tuple[int, ...], base: Case) -> list[Case]:
    """All that is measured of some models, at the nearest input that they take."""
    found = []
    for name in models:
        case = nearest_input(replace(base, model=name))
        factorised = name.startswith(("vivit_fe", "vtn"))
        modes = ("inference", "conventional", *(("sfa online", "sfa stored") if factorised else ()))
        for mode in modes:
            some = replace(case, mode=mode)
            if name in HUGE and mode == "conventional" and base.device == "cpu":
                some = replace(some, optimizer="sgd without momentum", recompute=True)
            found += [replace(some, batch=batch) for batch in batches]
    return found


def nearest_input(case: Case) -> Case:
    """The case at its frames and pixels, or at the model's own where it does not take those."""
    own = kl.models.card(case.model).spec
    tries = [(f, s) for f in (case.frames, own.frames) for s in (case.size, own.size)]
    for frames, size in tries:
        try:
            with torch.device("meta"):
                kl.create_model(case.model, frames=frames, size=size)
        except UsageError:
            continue
        return replace(case, frames=frames, size=size)
    raise AssertionError(f"{case.model} does not take its own input")


def planned(case: Case) -> dict[str, Any]:
    """Peak of the plan in GiB, by part, and what reached it."""
    peak = predict(case.work()).peak
    parts = {f"{part}_gib": value / GIB for part, value in peak.parts_bytes.items()}
    return {"planned_gib": peak.total_bytes / GIB, "at": peak.op, **parts, "threads": torch.get_num_threads()}


def one(case: Case, limit_gib: float) -> dict[str, Any]:
    """Plan and measure a case in this process, unless the plan says that it does not fit."""
    figures = planned(case)
    if figures["planned_gib"] > limit_gib:
        message = f"planned {figures['planned_gib']:.1f} GiB, and {limit_gib:g} GiB were allowed: not run"
        return {"status": "oom", "message": message, "figures": figures}
    on_gpu = case.device == "cuda"
    measured = (allocated_peak_bytes if on_gpu else profiled_peak_bytes)(case.work()) / GIB
    return {"status": "ok", "message": "", "figures": figures | {"measured_gib": measured, "steps": 2 if on_gpu else 1}}


def apart(case: Case, limit_gib: float) -> dict[str, Any]:
    """`one` in a process of its own."""
    asked = json.dumps({"case": asdict(case), "limit_gib": limit_gib})
    ran = subprocess.run([sys.executable, __file__, "--one", asked], capture_output=True, text=True)
    if ran.returncode == 0:
        return json.loads(ran.stdout.splitlines()[-1])
    said = ran.stderr.strip().splitlines()
    oom = ran.returncode == -9 or "OutOfMemoryError" in ran.stderr or "can't allocate memory" in ran.stderr
    return {"status": "oom" if oom else "failed", "message": said[-1] if said else "killed", "figures": {}}


def key(row: dict[str, Any]) -> str:
    """A case and the versions that it was measured with."""
    return json.dumps([row["config"], [row["environment"].get(name) for name in VERSIONS]], sort_keys=True)


def record(case: Case, found: dict[str, Any], command: str) -> BenchRecord:
    """A case's result with all that a record says."""
    return BenchRecord(
        model=case.model,
        mode=f"plan, {case.mode}",
        device=case.device,
        precision=case.precision,
        batch=case.batch,
        frames=case.frames,
        size=case.size,
        config=asdict(case),
        command=command,
        environment=environment(),
        **found,
    )


def replan(out: Path) -> None:
    """Plan anew all that was measured, and keep the rest of the records."""
    rows, problems = read_jsonl(out)
    for row in rows:
        if row["figures"]:
            row["figures"] |= planned(Case(**row["config"]))
            show(row)
    assert not problems, problems
    replace_bytes(out, "".join(json.dumps(row) + "\n" for row in rows).encode())


def show(row: dict[str, Any]) -> None:
    """One line on a record."""
    figures, config = row["figures"], row["config"]
    line = f"{config['model']:24} {config['mode']:13} batch {config['batch']}  {row['status']}"
    if "measured_gib" in figures:
        error = figures["planned_gib"] / figures["measured_gib"] - 1
        line += f"  planned {figures['planned_gib']:.3f}, measured {figures['measured_gib']:.3f} GiB, {error:+.2%}"
    print(f"{line}  {row['message'] or figures['at']}", flush=True)


def main(
    out: tyro.conf.Positional[Path],
    models: tuple[str, ...] = (),
    batches: tuple[int, ...] = (1, 2),
    frames: int = 16,
    size: int = 224,
    device: Literal["cpu", "cuda"] = "cpu",
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    limit_gib: float = 15.0,
    again: bool = False,
) -> None:
    """Append what OUT does not have yet.

    Args:
        out: file of records, JSON lines.
        models: default: all on a CPU, the families of the lightweight paper and ViViT-L on a GPU.
        batches: clips of a step.
        frames: frames of a clip; models that do not take so many have their own number.
        size: pixels, likewise.
        device: cpu, or cuda where there is one.
        precision: mixed precision, fp32 for none.
        limit_gib: what is planned to take more is not run.
        again: plan anew what OUT has, measure nothing.
    """
    if again:
        return replan(out)
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch finds no CUDA GPU here, so there is nothing to measure; --device cpu works everywhere.")
    names = list(models) or (list(FAMILIES) if device == "cuda" else kl.list_models())
    base = Case("", "inference", 1, frames, size, precision=precision, device=device)
    done = {key(row) for row in read_jsonl(out)[0] if row["status"] != "failed"} if out.exists() else set()
    for case in cases(names, batches, base):
        if key({"config": asdict(case), "environment": environment()}) in done:
            continue
        found = record(case, apart(case, limit_gib), shlex.join(["python", *sys.argv]))
        append_jsonl(out, found)
        show(asdict(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        asked = json.loads(sys.argv[2])
        print(json.dumps(one(Case(**asked["case"]), asked["limit_gib"])))
    else:
        tyro.cli(main)
