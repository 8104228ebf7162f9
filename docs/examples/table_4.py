"""Frames that fit: Table 4 of *Optimizing ViViT Training* (2306.04822) by the planner, as records: docs/table-4.md.

    python docs/examples/table_4.py results/plan/table4.jsonl

ViViT-B, L, H and g at 224 pixels, one clip per step, SGD with momentum, kernels and allocator of a GPU. None is needed.
Each record is one curve, peak against frames. Curves that the file has for the same versions are left alone.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from kinelite.config import MemoryConfig, OptimConfig
from kinelite.plan.predict import predict
from kinelite.plan.step import Work
from kinelite.plan.track import Peak
from kinelite.recipes import conventional, sfa
from kinelite.records import GIB, BenchRecord, append_jsonl, environment, read_jsonl

MODELS = ("vivit_fe_b", "vivit_fe_l", "vivit_fe_h", "vivit_fe_g")
COLUMNS = (4, 8, 16, 32, 48, 64, 96, 128)
LONGER = (256, 512)
SOURCE = "Optimizing ViViT Training, arXiv 2306.04822, section 4.8"
PUBLISHED = {
    ("vivit_fe_h", "conventional", 16): 96,
    ("vivit_fe_h", "stage 2", 16): 128,
    ("vivit_fe_g", "conventional", 16): 8,
    ("vivit_fe_g", "stage 2", 16): 48,
    ("vivit_fe_l", "conventional", 12): 16,
    ("vivit_fe_l", "stage 2", 12): 80,
}
"""(model, scheme, memory in GB) -> most frames that fit. The model of the 12 GB cards is not named there; it is taken
for ViViT-L, whose results the paper reproduces."""


@dataclass(frozen=True)
class Curve:
    """One scheme of training at one precision."""

    model: str
    scheme: Literal["conventional", "stage 2", "stage 2, stored"]
    precision: Literal["fp32", "bf16"]
    recompute: bool = False
    chunk_frames: int = 0
    """0: what a GPU gets by default, 128."""

    def peak(self, frames: int) -> Peak:
        """Planned peak of a step with one clip."""
        recipe = conventional if self.scheme == "conventional" else sfa
        config = recipe(
            model=self.model,
            frames=frames,
            size=224,
            batch=1,
            optim=OptimConfig("sgd"),
            memory=MemoryConfig(chunk_frames=self.chunk_frames, recompute=self.recompute),
        ).resolved()
        stored = self.scheme == "stage 2, stored"
        work = Work(config, config.stages[-1], (400,), 1, 1, "train", self.precision, "cuda", stored)
        return predict(work).peak


def curves(models: tuple[str, ...] = MODELS) -> list[Curve]:
    """All that the page shows."""
    found = []
    for model in models:
        for precision in ("bf16", "fp32"):
            found += [Curve(model, "conventional", precision), Curve(model, "conventional", precision, recompute=True)]
            found += [Curve(model, "stage 2", precision), Curve(model, "stage 2", precision, chunk_frames=16)]
            found += [Curve(model, "stage 2, stored", precision)]
    return found


def traced(curve: Curve, frames: tuple[int, ...]) -> dict[str, Any]:
    """Peaks in GiB by frames, with their parts."""
    peaks = {count: curve.peak(count) for count in frames}
    parts = {f: {name: value / GIB for name, value in peak.parts_bytes.items()} for f, peak in peaks.items()}
    return {"peak_gib": {f: peak.total_bytes / GIB for f, peak in peaks.items()}, "parts_gib": parts}


def quoted() -> list[BenchRecord]:
    """The paper's numbers as records."""
    return [
        BenchRecord(
            model=model,
            mode="plan, frames that fit",
            published=True,
            source=SOURCE,
            config={"scheme": scheme, "memory_gb": memory},
            figures={"frames": frames},
            device="16 GB TPU v3" if memory == 16 else "12 GB GPU",
            batch=1,
        )
        for (model, scheme, memory), frames in PUBLISHED.items()
    ]


def main(
    out: tyro.conf.Positional[Path], models: tuple[str, ...] = MODELS, frames: tuple[int, ...] = COLUMNS + LONGER
) -> None:
    """Append the curves that OUT does not have yet."""
    rows = read_jsonl(out)[0] if out.exists() else []
    if not rows:
        for record in quoted():
            append_jsonl(out, record)
    facts = environment()
    done = [row["config"] for row in rows if row["environment"].get("torch") == facts["torch"]]
    for curve in curves(models):
        if asdict(curve) in done:
            continue
        record = BenchRecord(
            model=curve.model,
            mode="plan, frames that fit",
            device="cuda",
            precision=curve.precision,
            batch=1,
            size=224,
            config=asdict(curve),
            figures=traced(curve, frames),
            command=shlex.join(["python", *sys.argv]),
            environment=facts,
        )
        append_jsonl(out, record)
        print(json.dumps(asdict(curve)), {f: round(x, 2) for f, x in record.figures["peak_gib"].items()}, flush=True)


if __name__ == "__main__":
    tyro.cli(main)
