"""What a store will hold, what of it is there already, and whether that is still what was written."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kinelite.data.manifest import Manifest, Row
from kinelite.data.prepare.maker import Task, source_bytes
from kinelite.data.prepare.store import (
    CARD,
    WHOLE,
    Card,
    Entry,
    Settings,
    Shard,
    StoredRow,
    conflict,
    describe,
    read_card,
    read_index,
    shards,
)
from kinelite.errors import DataError, UsageError

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all) in the calling thread."""


@dataclass(frozen=True)
class Plan:
    """What a store will hold, and this machine's share of it."""

    folder: Path
    card: Card
    rows: list[StoredRow]
    clips: list[Row]
    """Row of the set behind each clip."""
    shard: Shard = WHOLE

    @property
    def index(self) -> Path:
        return self.folder / self.shard.name("index", ".jsonl")

    @property
    def failed(self) -> Path:
        return self.folder / self.shard.name("failed", ".csv")

    def mine(self) -> list[int]:
        """The clips that this machine makes."""
        return [clip for clip in range(len(self.clips)) if self.shard.holds(clip)]

    def tasks(self, clips: Sequence[int]) -> list[Task]:
        """What a worker needs to make these clips."""
        first: dict[int, StoredRow] = {}
        for row in self.rows:
            first.setdefault(row.clip, row)
        tag = f"{self.shard.number}of{self.shard.of}"
        return [
            Task(
                clip,
                replace(self.clips[clip], path=os.path.abspath(self.clips[clip].path)),
                first[clip].source,
                str(self.folder / first[clip].file),
                self.card.settings,
                f".{clip}.{tag}.tmp",
            )
            for clip in clips
        ]

    def with_settings(self, settings: Settings) -> Plan:
        return replace(self, card=replace(self.card, settings=settings))


def make_plan(manifest: Manifest, folder: Path, settings: Settings, shard: Shard = WHOLE) -> Plan:
    """The plan of a store. Raises UsageError when the folder holds a store of another set or with other settings."""
    if not manifest.rows:
        raise DataError(f"'{manifest.name}' holds no clips: there is nothing to prepare.")
    settings.check()
    card, rows, clips = describe(manifest, settings)
    if (folder / CARD).exists():
        different = conflict(read_card(folder), card)
        if different:
            raise UsageError(
                f"'{folder}' holds a store that was made otherwise: {different}. Choose another --out, or delete it."
            )
    return Plan(folder, card, rows, clips, shard)


def finished(plan: Plan) -> dict[int, Entry]:
    """Clips of this shard that are there already, with the size that the index says, of originals that did not change.

    Those that failed are not among them: they are tried again.
    """
    tasks = {task.clip: task for task in plan.tasks(plan.mine())}
    # Other shards may have made them, in a folder that several were copied into; the own index knows best.
    files = [file for file in shards(plan.folder).values() if file != plan.index] + [plan.index]
    entries = (entry for file in files for entry in read_index(file).values())
    found = {e.clip: e for e in entries if e.clip in tasks and _is_there(e, tasks[e.clip])}
    return {clip: found[clip] for clip in tasks if clip in found}


def _is_there(entry: Entry, task: Task) -> bool:
    try:
        there = not entry.error and os.path.getsize(task.target) == entry.bytes
        # An original that is gone does not make its clip worse; one that changed does.
        return there and (not os.path.exists(task.row.path) or source_bytes(task.row.path) == entry.source_bytes)
    except OSError:
        return False


def verify(plan: Plan, done: Mapping[int, Entry], progress: Progress | None = None) -> list[str]:
    """Files among ``done`` whose bytes are not those that were written."""
    damaged = []
    for number, task in enumerate(plan.tasks(sorted(done)), start=1):
        with contextlib.suppress(OSError), open(task.target, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == done[task.clip].sha256:
                task = None
        if task is not None:
            damaged.append(task.target)
        if progress is not None:
            progress(number, len(done))
    return damaged
