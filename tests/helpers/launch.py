"""Processes that work together over loopback, and what one process does with the same clips."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from kinelite.records import read_jsonl

WORKER = Path(__file__).with_name("together.py")
LAUNCH = (sys.executable, "-m", "torch.distributed.run")
Jobs = list[dict[str, Any]]


def environment() -> dict[str, str]:
    """One thread each, and nothing of a launcher that the tests themselves may run under."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "TORCHELASTIC_"))}
    return kept | {"OMP_NUM_THREADS": "1", "KINELITE_TEST": "1", "CUDA_VISIBLE_DEVICES": ""}


def together(folder: Path, jobs: Jobs, *flags: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Two processes by default that do ``jobs``; their answers land in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs))
    command = [*prefix, *LAUNCH, *(flags or ("--nproc-per-node", "2")), str(WORKER), str(file)]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, text=True, env=environment(), **streams)


def finish(process: subprocess.Popen[str], limit_s: float = 150) -> str:
    """What it said; fails where it ends badly or not at all."""
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun takes its processes along
        said, _ = process.communicate(timeout=60)
        raise AssertionError(said[-4000:]) from None
    assert process.returncode == 0, said[-4000:]
    return said


def answers(folder: Path, rank: int = 0) -> list[Any]:
    return json.loads((folder / f"answers-{rank}.json").read_text())


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in read_jsonl(out / "metrics.jsonl")[0] if row["event"] in ("step", "eval")]


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]
