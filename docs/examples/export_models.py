"""Every model in every format and precision, written and verified, as records: docs/export.md.

    python docs/examples/export_models.py results/export/verified.jsonl

Each file is written by a process of its own, compared with PyTorch and deleted. What the records hold already, for the
same versions, is left alone. Latency is measured by the benchmark:

    kinelite bench lightweight --device onnxruntime --modes single --out results/export/latency.jsonl
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from kinelite.bench.case import LIGHTWEIGHT
from kinelite.bench.exported import what_was_said
from kinelite.export import FORMATS, PRECISIONS, find
from kinelite.records import BenchRecord, append_jsonl, environment, read_jsonl, version

VERSIONS = ("onnx", "onnxscript", "onnxruntime", "executorch", "torchao", "coremltools")


@dataclass(frozen=True)
class Wanted:
    """One file."""

    model: str
    format: str
    precision: str
    frames: int
    size: int


def made(wanted: Wanted) -> BenchRecord:
    """Write the file, throw it away, keep what was found."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"model{find(wanted.format).SUFFIX}"
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
    said = what_was_said(done.stderr)
    status = "unsupported" if "cannot be written" in said else "failed"
    return BenchRecord(**record, status=status, message=said)


def main(
    out: tyro.conf.Positional[Path],
    models: tuple[str, ...] = LIGHTWEIGHT,
    formats: tuple[str, ...] = FORMATS,
    precisions: tuple[str, ...] = PRECISIONS,
    frames: int = 16,
    size: int = 224,
) -> None:
    """Append what OUT does not have yet."""
    rows = read_jsonl(out)[0] if out.exists() else []
    here = {name: version(name) for name in ("torch", *VERSIONS)}
    same = [row for row in rows if all(row["environment"].get(name) == found for name, found in here.items())]
    done = [row["config"] for row in same if row["status"] != "failed"]
    for format in formats:
        for precision in precisions:
            for model in models:
                wanted = Wanted(model, format, precision, frames, size)
                if asdict(wanted) in done:
                    continue
                record = made(wanted)
                append_jsonl(out, record)
                print(model, format, precision, record.status, record.message or record.figures, flush=True)


if __name__ == "__main__":
    tyro.cli(main)
