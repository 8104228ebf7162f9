"""Calls of an exported model, for the devices that are runtimes of such files.

The file is written by a process of its own, so that what writing takes is not counted as memory of running it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kinelite.bench.case import Case
from kinelite.bench.devices import Ready, Unsupported
from kinelite.cache import cache_folder, code_of
from kinelite.export import Gap, find
from kinelite.export.facts import Facts, fields_of, from_text
from kinelite.records import version

MODES = ("batch", "single", "clip_to_label", "stream")
LIBRARIES = ("torch", "kinelite", "onnx", "onnxscript", "onnxruntime", "executorch", "torchao")
"""Whose versions decide whether a file that was written before is still what would be written."""


def missing(format: str) -> str | None:
    """What the format needs and is not installed."""
    return find(format).missing()


def prepare(case: Case, format: str) -> Ready:
    """The case's model in its runtime, written and verified first where the cache has no such file."""
    if case.compiled:
        raise Unsupported("an exported model is not compiled by torch.compile")
    from kinelite.train.device import PeakMemory

    path = written(case, format)
    chosen, peak = find(format), PeakMemory("cpu")
    facts = from_text(chosen.read_facts(path), path)
    try:
        run = chosen.open(path, case.threads)
    except Gap as gap:
        raise Unsupported(str(gap)) from gap
    make = {"clip_to_label": _clip_to_label, "stream": _stream}.get(case.mode, _infer)
    call = make(case, run, facts)

    def memory() -> dict[str, Any]:
        return {"peak_memory_gib": peak.read_gib(), "memory_kind": peak.kind}

    known: dict[str, Any] = fields_of(facts) | {"weights_mib": path.stat().st_size / 2**20}
    return Ready(call, memory, peak.reset, known | ({"threads": case.threads} if case.threads else {}))


def place(case: Case, format: str) -> Path:
    """Where the file of a case is kept: each source, set of versions and shape has its own."""
    made_by = [{name: version(name) for name in LIBRARIES}, code_of("models", "export")]
    stream = case.mode == "stream"
    asked = [case.model, case.precision, case.batch, case.frames, case.size, format, stream, made_by]
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / "exported" / f"{case.model.replace(':', '-')}-{key}{find(format).SUFFIX}"


def written(case: Case, format: str) -> Path:
    """The file of a case, from the cache or written now. Raises `Unsupported` with what the exporter says."""
    path = place(case, format)
    if path.exists():
        return path
    command = [sys.executable, "-m", "kinelite", "export", case.model, "--format", format]
    command += ["--precision", case.precision, "--batch", str(case.batch), "--out", str(path)]
    command += ["--frames", str(case.frames), "--size", str(case.size)]
    command += ["--stream"] if case.mode == "stream" else []
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise Unsupported(what_was_said(done.stderr))
    return path


def what_was_said(errors: str) -> str:
    """The exporter's own sentence, or the last one of a library."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or ["nothing was said"]
    own = [line for line in lines if line.startswith("kinelite export: ")]
    return (own or lines)[-1].removeprefix("kinelite export: ")


def _infer(case: Case, run: Any, facts: Facts) -> Callable[[], object]:
    import torch

    size, rng = facts.spec.size, np.random.default_rng(0)
    shape = (facts.batch, 3, facts.spec.frames, size, size)
    video = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    return lambda: run(video)


def _stream(case: Case, run: Any, facts: Facts) -> Callable[[], object]:
    import torch

    frame = torch.randn(facts.batch, 3, facts.spec.size, facts.spec.size)
    state = [torch.zeros(shape) for shape in facts.state]

    def call() -> object:
        nonlocal state
        made = run(frame, *state)
        # The runtime's own memory is written over by the next call.
        state = [part.clone() for part in made[len(made) - len(state) :]]
        return made[0]

    return call


def _clip_to_label(case: Case, run: Any, facts: Facts) -> Callable[[], object]:
    from kinelite.bench.clip import reader
    from kinelite.export.clips import normalised

    read = reader(case, facts.spec)
    return lambda: run(normalised(read(), facts.spec))[0].argmax(1).item()
