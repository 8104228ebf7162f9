"""Is this set usable, and what is in it: every file looked at before hours are spent on it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import numpy as np

from kinelite.data.decode import ClipError, ClipInfo, decode, probe, span
from kinelite.data.manifest import Manifest, Row

FEW_FRAMES = 8
Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all) in the calling thread."""


@dataclass(frozen=True)
class Problem:
    """Something about one clip. An error makes it unusable or the split unfair; a note is worth knowing."""

    path: str
    reason: str
    level: Literal["error", "note"] = "error"


def check_manifest(manifest: Manifest, workers: int = 0, progress: Progress | None = None) -> list[Problem]:
    """Problems of all clips, in the order of the rows, then those between splits.

    Of each clip the first, the middle and the last frame are decoded. Found are: missing, empty, damaged and
    undecodable files, files without video, parts outside of their file, clips of fewer than 8 frames (a note), and the
    same bytes or the same part of a file in two splits. ``workers``: threads that decode (0: none).
    """
    found = _over_rows(_row_problems, manifest.rows, workers, progress)
    return [problem for problems in found for problem in problems] + _shared(manifest.rows)


def stats(manifest: Manifest, workers: int = 0, progress: Progress | None = None) -> dict[str, Any]:
    """Counts per split and class, lengths in seconds, frame sizes, rates and codecs; plain JSON values.

    Files that cannot be read are counted under 'unreadable' and are missing from the lengths, sizes, rates and codecs.
    """
    known = [info for info in _over_rows(_info, manifest.rows, workers, progress) if info is not None]
    parts = [info for info, _ in known]
    seconds = [length for _, length in known]
    return {
        "name": manifest.name,
        "clips": len(manifest.rows),
        "files": len({row.path for row in manifest.rows}),
        "unreadable": len(manifest.rows) - len(known),
        "splits": manifest.splits(),
        "classes": {task: _per_class(manifest, i, names) for i, (task, names) in enumerate(manifest.tasks.items())},
        "seconds": _spread(seconds),
        "frames": _spread([float(round(s * info.fps)) for s, info in zip(seconds, parts, strict=True)]),
        "sizes": _tally(f"{info.width}x{info.height}" for info in parts),
        "fps": _tally(f"{info.fps:.4g}" for info in parts),
        "codecs": _tally(info.codec for info in parts),
        "notes": list(manifest.notes),
    }


def _over_rows(look: Callable[[Row], Any], rows: Sequence[Row], workers: int, progress: Progress | None) -> list[Any]:
    results = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for done, result in enumerate(pool.map(look, rows) if workers > 1 else map(look, rows), start=1):
            results.append(result)
            if progress is not None:
                progress(done, len(rows))
    return results


def _row_problems(row: Row) -> list[Problem]:
    try:
        info = probe(row.path)
        start_s, end_s = span(info, row.start_s, row.end_s)
        decode(row.path, np.array([start_s, 0.5 * (start_s + end_s), end_s]), info, short_side=16)
    except ClipError as error:
        return [Problem(row.path, error.reason)]
    problems = []
    # Half a second: rounded or rate-converted annotations are off by a little.
    if row.end_s is not None and row.end_s > info.end_s + 0.5:
        problems.append(Problem(row.path, f"the part ends at {row.end_s:g} s, the file at {info.end_s:g} s"))
    frames = round((end_s - start_s) * info.fps)
    if frames < FEW_FRAMES:
        problems.append(Problem(row.path, f"short: frames will repeat, it has only {frames}", "note"))
    return problems


def _info(row: Row) -> tuple[ClipInfo, float] | None:
    try:
        info = probe(row.path)
        start_s, end_s = span(info, row.start_s, row.end_s)
    except ClipError:
        return None
    return info, end_s - start_s


def _shared(rows: Sequence[Row]) -> list[Problem]:
    """Clips that two splits have in common: the same bytes, or overlapping parts of one file."""
    by_file: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_file[os.path.realpath(row.path)].append(row)
    problems = [p for same_file in by_file.values() for p in _overlaps(same_file)]
    by_bytes: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for path, size in _equally_large(by_file).items():
        by_bytes[size, _digest(path)].append(by_file[path][0])
    for same in by_bytes.values():
        first = same[0]
        others = [row for row in same[1:] if row.split != first.split]
        problems += [_both(row, first, f"the same bytes as {first.path}") for row in others]
    return problems


def _overlaps(rows: Sequence[Row]) -> list[Problem]:
    order = sorted(rows, key=lambda row: row.start_s or 0.0)
    last: dict[str, Row] = {}
    problems = []
    for row in order:
        others = [other for split, other in last.items() if split != row.split]
        problems += [_both(row, o, "a part of it") for o in others if (row.start_s or 0.0) < (o.end_s or np.inf)]
        before = last.get(row.split)
        if before is None or (row.end_s or np.inf) > (before.end_s or np.inf):
            last[row.split] = row
    return problems


def _both(row: Row, other: Row, what: str) -> Problem:
    return Problem(row.path, f"{what} is in {other.split} as well as in {row.split}")


def _equally_large(by_file: dict[str, list[Row]]) -> dict[str, int]:
    """Files that share their size with a file of another split: only these can be equal, and are read."""
    sizes = {path: os.path.getsize(path) for path in by_file if os.path.isfile(path)}
    sides: dict[int, set[str]] = defaultdict(set)
    for path, size in sizes.items():
        sides[size] |= {row.split for row in by_file[path]}
    return {path: size for path, size in sizes.items() if size and len(sides[size]) > 1}


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _per_class(manifest: Manifest, task: int, names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    counts = Counter((row.labels[task], row.split) for row in manifest.rows)
    return {name: {split: counts[k, split] for split in manifest.splits()} for k, name in enumerate(names)}


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    figures = {"min": min(values), "median": median(values), "max": max(values), "total": sum(values)}
    return {name: round(float(value), 3) for name, value in figures.items()}


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
