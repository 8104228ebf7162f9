"""Every model in every format and precision, written, verified and measured, as records: docs/export.md.

    python docs/examples/export_models.py results/export/verified.jsonl results/export/latency.jsonl

Each file is written by a process of its own, compared with PyTorch, called on one clip by another process, as
`kinelite bench` does, and deleted. What the records hold already, for the same versions, is left alone.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from kinelite.bench.apart import apart, to_record
from kinelite.bench.case import LIGHTWEIGHT, Case
from kinelite.bench.exported import place, what_was_said
from kinelite.export import FORMATS, PRECISIONS
from kinelite.records import BenchRecord, append_jsonl, environment, read_jsonl, version

RUNTIMES = {"onnx": "onnxruntime", "executorch": "executorch"}
"""Format -> the benchmark's device that runs it; Core ML runs on Apple's systems only."""
VERSIONS = ("onnx", "onnxscript", "onnxruntime", "executorch", "torchao", "coremltools")


@dataclass(frozen=True)
class Wanted:
    """One file."""

    model: str
    format: str
    precision: str
    frames: int
    size: int

    def case(self, threads: int, limit_s: float) -> Case:
        """Its measurement: one clip at a time."""
        shape: dict[str, Any] = {"frames": self.frames, "size": self.size, "precision": self.precision}
        device = RUNTIMES.get(self.format, self.format)
        return Case(model=self.model, mode="single", device=device, threads=threads, limit_s=limit_s, **shape)


def made(wanted: Wanted, out: Path) -> BenchRecord:
    """Write the file, and say what was found."""
    asked = ["kinelite", "export", wanted.model, "--format", wanted.format, "--precision", wanted.precision]
    asked += ["--frames", str(wanted.frames), "--size", str(wanted.size)]
    command = [sys.executable, "-m", *asked, "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    facts = environment() | {name: found for name in VERSIONS if (found := version(name))}
    record = {
        "model": wanted.model,
        "mode": "export",
        "device": wanted.format,
        "precision": wanted.precision,
        "batch": 1,
        "frames": wanted.frames,
        "size": wanted.size,
        "config": asdict(wanted),
        "command": shlex.join(asked),
        "environment": facts,
    }
    if done.returncode == 0:
        found = json.loads(done.stdout.splitlines()[-1])
        names = ("difference", "largest_logit", "same_label", "size_mib", "seconds")
        return BenchRecord(**record, figures={name: found[name] for name in names})
    said = what_was_said(done.stderr).replace(f"{out.parent}/", "")
    status = "unsupported" if "cannot be written" in said else "failed"
    return BenchRecord(**record, status=status, message=said)


def timed(case: Case) -> BenchRecord:
    """Latency of the file that was written just now."""
    record = to_record(case, case.batch, apart(case))
    asked = ["kinelite", "bench", case.model, "--device", case.device, "--modes", case.mode]
    asked += ["--precision", case.precision, "--frames", str(case.frames), "--size", str(case.size)]
    asked += ["--threads", str(case.threads), "--limit-s", f"{case.limit_s:g}", "--reference", "none"]
    return replace(record, command=shlex.join(asked))


def known(path: Path) -> list[dict[str, Any]]:
    """What was asked for in the records that the same versions made, failures left out."""
    rows = read_jsonl(path)[0] if path.exists() else []
    here = {name: version(name) for name in ("torch", *VERSIONS)}
    kept = [row for row in rows if row["status"] != "failed"]
    same = [r for r in kept if all(r["environment"].get(n, found) == found for n, found in here.items())]
    return [row["config"] for row in same]


def main(
    verified: tyro.conf.Positional[Path],
    latency: tyro.conf.Positional[Path],
    models: tuple[str, ...] = LIGHTWEIGHT,
    formats: tuple[str, ...] = FORMATS,
    precisions: tuple[str, ...] = PRECISIONS,
    frames: int = 16,
    size: int = 224,
    threads: int = 1,
    limit_s: float = 6,
) -> None:
    """Append what VERIFIED and LATENCY do not have yet."""
    written, measured = known(verified), known(latency)
    for format in formats:
        for precision in precisions:
            for model in models:
                wanted = Wanted(model, format, precision, frames, size)
                case = wanted.case(threads, limit_s)
                timing = format in RUNTIMES and not any(_same(case, config) for config in measured)
                if asdict(wanted) in written and not timing:
                    continue
                path = place(case, format)
                record = made(wanted, path)
                print(model, format, precision, record.status, record.message or record.figures, flush=True)
                if asdict(wanted) not in written:
                    append_jsonl(verified, record)
                if record.status == "ok" and timing:
                    append_jsonl(latency, found := timed(case))
                    print(model, format, precision, found.status, found.latency_ms_median, found.notes, flush=True)
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _same(case: Case, config: dict[str, Any]) -> bool:
    """Whether records of that configuration are of this case; a time limit is not compared."""
    given = asdict(case)
    return all(config.get(name) == given[name] for name in ("model", "mode", "device", "precision", "frames", "size"))


if __name__ == "__main__":
    tyro.cli(main)
