"""A measurement in a process of its own: nothing that happens to it is lost, and it disturbs nothing after it."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace

from kinelite.bench.case import Case, Outcome
from kinelite.records import BenchRecord, environment, version

COMMAND = (sys.executable, "-m", "kinelite.bench.child")
SLOW_S = 900.0
"""Seconds that a measuring process may take beside its time limit: to start, compile, and to call slow models."""
VERSIONS = ("torchvision", "lightning", "onnxruntime", "executorch")
"""Of libraries, beside those that every record names."""


def measured(case: Case) -> Iterator[BenchRecord]:
    """The record of a case; where its batch does not fit, one for each batch that was tried."""
    batch = case.batch
    while True:
        tried = replace(case, batch=batch)
        outcome = apart(tried)
        yield to_record(tried, case.batch, outcome)
        if outcome.status != "oom" or batch == 1:
            return
        batch //= 2


def apart(case: Case) -> Outcome:
    """Measure in a process of its own. Whatever happens to it is an outcome."""
    limit_s = 2 * case.limit_s + SLOW_S
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as child:
        try:
            output, errors = child.communicate(json.dumps(asdict(case)), timeout=limit_s)
        except subprocess.TimeoutExpired:
            return Outcome("failed", f"stopped after {limit_s:.0f} s: starting and calling it takes longer")
        finally:
            child.kill()
    return understood(child.returncode, output, errors)


def understood(code: int, output: str, errors: str) -> Outcome:
    """What a measuring process came to: its own word, or what its end says."""
    if code == 0 and output.strip():
        return Outcome(**json.loads(output.strip().splitlines()[-1]))
    if code == -signal.SIGKILL:
        return Outcome("oom", "the process was killed (signal 9), as the system does when memory runs out")
    if code < 0:
        return Outcome("failed", f"the process ended by {signal.Signals(-code).name}")
    last = next((line for line in reversed(errors.splitlines()) if line.strip()), "nothing was said")
    return Outcome("failed", f"the process ended with code {code}: {last.strip()}")


def to_record(case: Case, asked_batch: int, outcome: Outcome) -> BenchRecord:
    """The record of one measurement."""
    return BenchRecord(
        model=case.model,
        mode=case.mode,
        status=outcome.status,
        message=outcome.message,
        device=case.device,
        precision=case.precision,
        compiled=case.compiled,
        batch=case.batch,
        asked_batch=asked_batch,
        frames=case.frames,
        size=case.size,
        config=asdict(case),
        command=shlex.join(["kinelite", *sys.argv[1:]]),
        environment=environment() | {name: found for name in VERSIONS if (found := version(name))},
        **outcome.fields,
    )
