"""Clips that a set holds twice: parts of one file that overlap, and files of the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kinelite.data.manifest import Row

GLANCE_BYTES = 1 << 16


class Pair(NamedTuple):
    """A clip that had better go, what it shares, and with which clip."""

    row: Row
    what: str
    other: Row


def shared_clips(rows: Sequence[Row]) -> list[Pair]:
    """Overlapping parts of one file in two splits, and files of the same bytes in any.

    Of two splits the clip to train on is the one to go, so that what is scored stays what others score.
    """
    by_file: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_file[os.path.realpath(row.path)].append(row)
    found = [pair for same in by_file.values() for pair in _overlaps(same)]
    for paths in _same_bytes(by_file):
        found += _copies([by_file[path] for path in paths])
        found += _overlapping_copies([by_file[path] for path in paths])
    return found


def _overlaps(rows: Sequence[Row]) -> list[Pair]:
    """Every clip to train on with one of each other split that it overlaps; of two other splits the later clip."""
    order = sorted(rows, key=_start)
    furthest: dict[str, Row] = {}
    found = []
    for row, following in zip(order, _following(order), strict=True):
        others = {split: other for split, other in furthest.items() if _start(row) < _end(other)}
        if row.split == "train":
            others = {split: other for split, other in following.items() if _start(other) < _end(row)} | others
        # One to train on is named when it is its turn.
        found += [Pair(row, "a part of it", o) for s, o in others.items() if s not in (row.split, "train")]
        if row.split not in furthest or _end(row) > _end(furthest[row.split]):
            furthest[row.split] = row
    return found


def _following(order: Sequence[Row]) -> list[dict[str, Row]]:
    """Of each row, the next one of each split."""
    found: list[dict[str, Row]] = []
    following: dict[str, Row] = {}
    for row in reversed(order):
        found.append(following)
        following = following | {row.split: row}
    return found[::-1]


def _overlapping_copies(files: Sequence[Sequence[Row]]) -> list[Pair]:
    """Overlaps between parts of equal files; equal parts are copies, and parts of one file are found there."""
    pairs = _overlaps([row for rows in files for row in rows])
    place = {id(row): number for number, rows in enumerate(files) for row in rows}
    return [
        Pair(row, f"a part of the same bytes as {other.path}", other)
        for row, _, other in pairs
        if place[id(row)] != place[id(other)] and (row.start_s, row.end_s) != (other.start_s, other.end_s)
    ]


def _start(row: Row) -> float:
    return row.start_s or 0.0


def _end(row: Row) -> float:
    return np.inf if row.end_s is None else row.end_s


def _copies(files: Sequence[Sequence[Row]]) -> list[Pair]:
    """Pairs of the clip that is best kept with each of its copies."""
    parts: dict[tuple[float | None, float | None], list[Row]] = defaultdict(list)
    for row in (row for rows in files for row in rows):
        parts[row.start_s, row.end_s].append(row)
    found = []
    for rows in parts.values():
        kept = next((row for row in rows if row.split != "train"), rows[0])
        found += [Pair(row, f"the same bytes as {kept.path}", kept) for row in rows if row is not kept]
    return found


def _same_bytes(paths: Iterable[str]) -> list[list[str]]:
    """Groups of files (or image folders) that are equal: compared by size, then by a glance, then as a whole."""
    groups = [list(paths)]
    for measure in (_size, _glance, _digest):
        groups = [part for group in groups for part in _divided(group, measure)]
    return groups


def _divided(paths: Sequence[str], measure: Callable[[str], object]) -> list[list[str]]:
    parts: dict[object, list[str]] = defaultdict(list)
    for path in paths:
        try:
            found = measure(path)
        except OSError:  # missing or unreadable, which is found elsewhere
            continue
        if found:
            parts[found].append(path)
    return [part for part in parts.values() if len(part) > 1]


def _files(path: str) -> list[Path]:
    if os.path.isdir(path):
        return sorted(child for child in Path(path).iterdir() if child.is_file())
    return [Path(path)]


def _size(path: str) -> tuple[int, int] | None:
    sizes = [file.stat().st_size for file in _files(path)]
    return (len(sizes), sum(sizes)) if sum(sizes) else None


def _glance(path: str) -> bytes:
    """Of the middle of a file: prepared clips are all of one size and begin alike."""
    files = _files(path)
    with files[len(files) // 2].open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size // 2 - GLANCE_BYTES // 2))
        return hashlib.sha256(file.read(GLANCE_BYTES)).digest()


def _digest(path: str) -> bytes:
    whole = hashlib.sha256()
    for name in _files(path):
        with name.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.digest()
