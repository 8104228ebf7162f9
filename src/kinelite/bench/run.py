"""Many measurements, each in a fresh process, each a record that is on the disk before the next one begins."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kinelite.bench.apart import measured
from kinelite.bench.case import BATCHES, MODES, PRECISIONS, RELATIVE, Case
from kinelite.bench.devices import find
from kinelite.bench.pick import pick
from kinelite.bench.say import label, sentence
from kinelite.errors import SetupError, UsageError, unknown
from kinelite.records import REFERENCE, BenchRecord, append_jsonl, environment, explained, read_jsonl


def bench(
    models: Sequence[str],
    modes: Sequence[str] = ("train", "batch", "single"),
    device: str = "cpu",
    precisions: Sequence[str] = ("auto",),
    *,
    compiled: Sequence[bool] = (False,),
    batches: dict[str, int] | None = None,
    out: str | Path | None = None,
    skip_done: bool = False,
    reference: str | None = "auto",
    said: Callable[[str], None] = print,
    **fields: Any,
) -> list[BenchRecord]:
    """Measure models in modes, one process after the other, and return the records.

    Args:
        models: names, patterns such as 'movinet*', or 'lightweight' for the paper's thirteen.
        modes: of `kinelite.bench.case.MODES`.
        device: of `kinelite.bench.devices`.
        precisions: 'auto' is what the device chooses.
        compiled: eager, through torch.compile, or both.
        batches: mode -> clips of a call, where it is not the paper's.
        out: file of JSON lines that each record is appended to at once.
        skip_done: leave out what ``out`` holds already, measured on this machine with these versions.
        reference: model that is called in turn with each in the paper's modes, so that relative latencies do not depend
            on when they were measured. 'auto': MoViNet-A0 where the device allows it; None: none.
        said: takes a line for each measurement.
        fields: of `kinelite.bench.case.Case`, for all cases: frames, size, warmup, runs, limit_s, threads, clip.

    Raises:
        UsageError: unknown model, mode, precision or device, or a number that cannot be meant.
        SetupError: the device is not here, or ``out`` cannot be written.
    """
    names = pick(models)
    found = find(device)
    if reason := found.missing():
        raise SetupError(f"Device '{device}': {reason}")
    chosen = [found.choose() if p == "auto" else p for p in precisions]
    _known("mode", modes, MODES)
    _known("precision", chosen, PRECISIONS)
    base = Case(model="", mode="single", reference=_reference(reference, device), **fields)
    _check(base, batches or {})
    if out is not None:
        _writable(Path(out), said)
    done = _done(Path(out)) if out is not None and skip_done else set()
    records: list[BenchRecord] = []
    for case in _cases(names, modes, device, chosen, compiled, BATCHES | (batches or {}), base):
        if _key(asdict(case), environment()) in done:
            said(f"{label(case)}: measured before")
            continue
        for record in measured(case):
            if out is not None:
                append_jsonl(out, record)
            records.append(record)
            said(sentence(record))
    return records


def _cases(
    names: Iterable[str],
    modes: Sequence[str],
    device: str,
    precisions: Sequence[str],
    compiled: Sequence[bool],
    batches: dict[str, int],
    base: Case,
) -> Iterable[Case]:
    """All cases, model by model, so that an interrupted run has whole models."""
    for name in names:
        for precision in precisions:
            for through in compiled:
                for mode in modes:
                    some: Any = {"model": name, "mode": mode, "precision": precision, "compiled": through}
                    beside = base.reference if mode in RELATIVE else None
                    yield replace(base, device=device, batch=batches.get(mode, 1), reference=beside, **some)


def _reference(given: str | None, device: str) -> str | None:
    """The model that 'auto' stands for, or the one of that name."""
    if given == "auto":
        return REFERENCE if find(device).IN_TURN else None
    return None if given is None else pick([given])[0]


def _known(kind: str, given: Iterable[str], allowed: Sequence[str]) -> None:
    for name in given:
        if name not in allowed:
            raise unknown(kind, name, allowed, "kinelite bench --help")


def _check(base: Case, batches: dict[str, int]) -> None:
    numbers = {"frames": base.frames, "size": base.size, "warmup": base.warmup, "runs": base.runs}
    for name, value in (numbers | {f"{mode} batch": batch for mode, batch in batches.items()}).items():
        if value < 1:
            raise UsageError(f"{name} {value}: give 1 or more. See: kinelite bench --help")
    if not base.limit_s > 0:
        raise UsageError(f"--limit-s {base.limit_s:g}: give a number of seconds above 0.")
    if base.threads is not None and not 1 <= base.threads <= 4 * (os.cpu_count() or 1):
        raise UsageError(f"--threads {base.threads}: this machine has {os.cpu_count()} cores.")


def _writable(out: Path, said: Callable[[str], None]) -> None:
    """Raise SetupError before anything is measured when ``out`` cannot take records; name damaged lines in it."""
    with explained(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(out, "ab"):
            pass
    except OSError as error:
        raise SetupError(f"{out}: {error.strerror}. Name another file with --out, nothing was measured.") from error
    for problem in read_jsonl(out)[1]:
        said(f"{problem}; the other records stay as they are")


def _done(out: Path) -> set[str]:
    """Keys of what was measured; what failed is tried again."""
    rows = [row for row in read_jsonl(out)[0] if row.get("kind") == "bench" and row.get("status") in ("ok", "oom")]
    # A batch that was too large stands for the batch that was asked for only together with the one that fitted.
    fitted = [row for row in rows if row["status"] == "ok"]
    return {
        _key(row.get("config", {}) | {"batch": row.get("asked_batch")}, row.get("environment", {})) for row in fitted
    }


def _key(case: dict[str, Any], where: dict[str, Any]) -> str:
    return json.dumps([case, [where.get(name) for name in ("cpu", "cuda", "kinelite", "torch")]], sort_keys=True)
