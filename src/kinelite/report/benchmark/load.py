"""Bench records at paths: files of lines, folders of such files; damaged lines are named and the rest is used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinelite.errors import DataError
from kinelite.records import BenchRecord, EvalRecord, from_dict, read_jsonl
from kinelite.report.load import DEPTH, RECORDS, is_run

MODES = {
    "train": "Training step",
    "batch": "Batch inference",
    "single": "Single clip",
    "clip_to_label": "Clip to label, from the file",
    "decode": "Decoding of a clip",
    "stream": "One frame of a stream",
}
"""Modes that are compared, in order, with their titles."""
COST, CONVERGENCE = "cost", "convergence"
"""Modes of published figures that are no latency: parameters and operations; epochs to convergence."""


@dataclass(frozen=True)
class Found:
    """Records of all paths, each once, in the order of files and lines."""

    bench: tuple[BenchRecord, ...] = ()
    scores: tuple[EvalRecord, ...] = ()
    """Evaluation records that stand in such files."""
    problems: tuple[str, ...] = ()
    """A sentence per damaged line or file."""
    left_out: tuple[str, ...] = ()
    """A sentence per file with records of another kind."""


def find_bench(paths: Iterable[str | Path]) -> Found:
    """Bench and evaluation records of .jsonl and .json files at ``paths``; folders are searched three deep, run
    folders left out. A path without any adds nothing."""
    files = list(dict.fromkeys(file.resolve() for path in paths for file in _files(Path(path), DEPTH)))
    bench: dict[str, BenchRecord] = {}
    scores: list[EvalRecord] = []
    problems: list[str] = []
    left_out: list[str] = []
    for file in files:
        rows, damaged = _rows(file)
        problems += damaged
        others: Counter[str] = Counter()
        for number, row in enumerate(rows, start=1):
            try:
                record = _record(row)
            except DataError as error:
                problems.append(f"{file.name}, record {number}: {error}")
                continue
            if isinstance(record, BenchRecord):
                # The same line may have been copied into two files.
                bench.setdefault(json.dumps(row, sort_keys=True), record)
            elif record is not None:
                scores.append(record)
            else:
                others[_what(row)] += 1
        left_out += [f"{file.name}: {n} records left out ({what})" for what, n in others.items()]
    return Found(tuple(bench.values()), tuple(scores), tuple(problems), tuple(left_out))


def holds_something(found: Found) -> bool:
    """Whether there is a record that a page of measurements shows."""
    return bool(found.bench or found.scores)


def _files(path: Path, depth: int) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in (".jsonl", ".json") and path.name not in RECORDS else []
    if not path.is_dir() or is_run(path):
        return []
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    files = [child for child in children if child.is_file() and child.suffix == ".jsonl"]
    folders = [child for child in children if child.is_dir()] if depth else []
    return files + [file for folder in folders for file in _files(folder, depth - 1)]


def _rows(file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    if file.suffix == ".jsonl":
        return read_jsonl(file)
    try:
        loaded = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        return [], [f"{file.name} cannot be read: {error}"]
    rows = loaded if isinstance(loaded, list) else [loaded]
    return [row for row in rows if isinstance(row, dict)], []


def _record(row: dict[str, Any]) -> BenchRecord | EvalRecord | None:
    """The record of a row; None for one that is not compared here."""
    if row.get("kind") == "eval":
        return from_dict(EvalRecord, row)
    if row.get("kind") != "bench" or row.get("mode") not in (*MODES, COST, CONVERGENCE):
        return None
    record = from_dict(BenchRecord, row)
    return record if says_something(record) else None


def says_something(record: BenchRecord) -> bool:
    """Whether a record failed, or has a figure that a table shows."""
    shown = (latency_ms(record), record.relative_latency, record.gmacs, record.params_m, record.peak_memory_gib)
    return record.status != "ok" or any(value is not None for value in shown) or bool(record.published)


def _what(row: dict[str, Any]) -> str:
    kind = str(row.get("kind") or "no kind")
    if kind != "bench":
        return f"kind {kind}"
    mode = str(row.get("mode"))
    return f"mode {mode}" if mode not in MODES else f"mode {mode}, no latency"


def latency_ms(record: BenchRecord) -> float | None:
    """Median of a call, or its mean where that is all there is."""
    return record.latency_ms_mean if record.latency_ms_median is None else record.latency_ms_median


def clip_ms(record: BenchRecord) -> float | None:
    """Latency per clip of a call."""
    found = latency_ms(record)
    return None if found is None else found / (record.batch or 1)
