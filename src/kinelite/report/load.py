"""Run folders, read as far as they go: what is missing or damaged is said, not fatal."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kinelite.errors import DataError, UsageError, neighbours
from kinelite.records import EvalRecord, TrainRecord, from_dict, read_jsonl

RECORDS = ("record.json", "eval.json", "metrics.jsonl")
DEPTH = 3
"""How many folders deep run folders are looked for."""


@dataclass(frozen=True)
class Run:
    """What is known of one run; a part that could not be read is None or empty and named in ``problems``."""

    path: Path
    name: str
    train: TrainRecord | None = None
    evaluation: EvalRecord | None = None
    config: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    problems: tuple[str, ...] = ()

    @property
    def published(self) -> bool:
        """The figures are quoted, nothing was run."""
        return any(record is not None and record.published for record in (self.train, self.evaluation))

    @property
    def recipe(self) -> str:
        """Recipe of the run, or the folder's name."""
        return (self.train.recipe if self.train else "") or str(self.config.get("recipe") or "") or self.name


def load_run(path: str | Path) -> Run:
    """One run folder. Raises UsageError when it holds none of the files that a run writes."""
    path = Path(path)
    if not is_run(path):
        raise UsageError(f"'{path}' is not a run folder: none of {', '.join(RECORDS)} is in it. {_EXAMPLE}")
    problems: list[str] = []
    train = _record(path / "record.json", TrainRecord, problems)
    evaluation = _record(path / "eval.json", EvalRecord, problems)
    metrics, damaged = read_jsonl(path / "metrics.jsonl")
    problems += damaged if (path / "metrics.jsonl").exists() else ["metrics.jsonl is missing"]
    config = _object(path / "config.json", problems) or (train.config if train else {})
    return Run(path, path.resolve().name, train, evaluation, config, metrics, tuple(problems))


def is_run(path: str | Path) -> bool:
    """Whether a folder holds any of the files that a run writes."""
    return any((Path(path) / name).is_file() for name in RECORDS)


def find_runs(paths: Iterable[str | Path], other: Collection[Path] = ()) -> list[Run]:
    """All runs at ``paths``: run folders, folders that hold some, and .json or .jsonl files of training records (such
    as published figures). Each run once, with a name of its own.

    Raises UsageError naming what was looked for when a path leads to no run, those among ``other`` left out: they hold
    records of another kind.
    """
    runs: dict[str, Run] = {}
    given = list(map(Path, paths))
    for path in given:
        found = _records_file(path, path not in other) if path.is_file() else _below(path)
        if not found and path not in other:
            files = f"no folder with {', '.join(RECORDS)} in it, no .jsonl file with measurements."
            what = files if path.is_dir() else f"there is nothing of that name. {neighbours(path)}"
            raise UsageError(f"No run at '{path}': {what} {_EXAMPLE}")
        for run in found:
            runs.setdefault(f"{run.path.resolve()}#{run.name if path.is_file() else ''}", run)
    if not given:
        raise UsageError(f"No run was named. {_EXAMPLE}")
    return _distinct(list(runs.values()))


_EXAMPLE = "Try: kinelite report runs/"


def _below(path: Path) -> list[Run]:
    return [load_run(folder) for folder in _run_folders(path, DEPTH)]


def _run_folders(path: Path, depth: int) -> list[Path]:
    if is_run(path):
        return [path]
    if depth == 0 or not path.is_dir():
        return []
    children = sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    return [run for child in children for run in _run_folders(child, depth - 1)]


def _records_file(path: Path, required: bool) -> list[Run]:
    problems: list[str] = []
    if path.suffix == ".jsonl":
        rows, problems = read_jsonl(path)
    else:
        loaded = _read(path, problems)
        rows = loaded if isinstance(loaded, list) else [loaded]
    runs = []
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict) and row.get("kind", "train") != "train":
            continue
        try:
            record = from_dict(TrainRecord, row)
        except DataError as error:
            problems.append(f"{path.name}, record {number}: {error}")
            continue
        runs.append(Run(path, f"{path.stem} {number}", record, config=record.config))
    if not runs and not required:
        return []
    if not runs:
        raise UsageError(f"'{path}' holds no training record: {'; '.join(problems) or 'it is empty'}")
    return [replace(runs[0], problems=tuple(problems)), *runs[1:]]


def _record(path: Path, kind: type, problems: list[str]) -> Any:
    data = _object(path, problems)
    if data is None:
        return None
    try:
        return from_dict(kind, data)
    except DataError as error:
        problems.append(f"{path.name}: {error}")
        return None


def _object(path: Path, problems: list[str]) -> dict[str, Any] | None:
    data = _read(path, problems)
    if data is not None and not isinstance(data, dict):
        problems.append(f"{path.name} is damaged: it holds no JSON object")
        return None
    return data


def _read(path: Path, problems: list[str]) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        problems.append(f"{path.name} is missing")
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read: {error}")
    return None


def _distinct(runs: list[Run]) -> list[Run]:
    """Folders of equal names get their parents' names in front, then a number."""
    names = [run.name for run in runs]
    longer = [
        f"{run.path.resolve().parent.name}/{n}" if names.count(n) > 1 else n for run, n in zip(runs, names, strict=True)
    ]
    used: dict[str, int] = {}
    result = []
    for run, name in zip(runs, longer, strict=True):
        used[name] = used.get(name, 0) + 1
        result.append(replace(run, name=name if used[name] == 1 else f"{name} ({used[name]})"))
    return result
