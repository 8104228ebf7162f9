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
    """Video file, prepared clip, folder of images or image sequence ('frame_%05d.jpg'), absolute or relative to the
    working directory."""
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
class Joint:
    """A label that is made of several others, such as an action of a verb and a noun.

    It is scored from the heads of its parts when it is no task itself, and its parts from it when they are none.
    """

    name: str
    """The label as a whole, such as 'action'; a task of the manifest or not."""
    parts: Mapping[str, tuple[str, ...]]
    """Part -> class names, such as verb and noun; tasks of the manifest or not."""
    members: tuple[tuple[int, ...], ...] = ()
    """Class of each part, for each class of the joint task; empty when the label as a whole is no task."""


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
    absent: tuple[str, ...] = field(default=(), repr=False)
    """Clips that the set's lists name and whose file is not there: counted, listed by `data check`, and left out."""
    joint: Joint | None = None
    """How tasks make up one label, where they do (EPIC-Kitchens: verb and noun make an action)."""

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
