"""Rows of a data set: which file, which labels, which split, which part of the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Row:
    """One clip: a file, or the part of it between ``start_s`` and ``end_s``."""

    path: str
    """File, absolute or relative to the working directory."""
    labels: tuple[int, ...]
    """One class index per task, in the order of ``Manifest.tasks``."""
    split: str
    """train, val or test."""
    start_s: float | None = None
    """Beginning of the clip in the file's presentation time, in seconds; None: the first frame."""
    end_s: float | None = None
    """End of the clip in seconds; None: the last frame."""
    group: str = ""
    """Rows of one group never stand on both sides of a split."""


@dataclass(frozen=True)
class Manifest:
    """A data set: tasks with their class names, and rows."""

    name: str
    tasks: Mapping[str, tuple[str, ...]]
    """Task name -> class names. A set with one label per clip has the single task 'label'."""
    rows: tuple[Row, ...]
    policy: str = "lightweight_kinetics"
    """Augmentation policy that suits the set (a set with left and right in its labels must not be flipped)."""
    notes: tuple[str, ...] = field(default=())
    """Sentences for the user: how the split was made, what was left out and why."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the first task."""
        return next(iter(self.tasks.values()))

    def only(self, split: str) -> Manifest:
        """The same set with the rows of one split."""
        return replace(self, rows=tuple(row for row in self.rows if row.split == split))

    def splits(self) -> dict[str, int]:
        """Split name -> number of rows."""
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row.split] = counts.get(row.split, 0) + 1
        return counts

    def fingerprint(self) -> str:
        """Hex digest over tasks and rows; equal exactly when training would see the same clips."""
        rows = [[r.path, list(r.labels), r.split, r.start_s, r.end_s] for r in self.rows]
        text = json.dumps([{k: list(v) for k, v in self.tasks.items()}, rows], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
