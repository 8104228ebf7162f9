"""Decoding a set once into a store: in parallel, continued after any kill, ending with the same files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinelite.data.crew import Crew, Lost
from kinelite.data.exclusions import clip_key, write_exclusions
from kinelite.data.messages import decode, encode
from kinelite.data.prepare.maker import Outcome, Task, lost_entry, make
from kinelite.data.prepare.plan import Plan, Progress, finished
from kinelite.data.prepare.store import CARD, ROWS, Entry, rows_text, to_line
from kinelite.errors import SetupError
from kinelite.lock import exclusive
from kinelite.records import cores, explained, replace_bytes, write_json

LIMIT_S = 1800.0
"""Seconds that one clip may take before its worker is taken to hang."""
SYNC_S = 1.0
"""The index is brought to the disk this often: a power cut costs so many seconds of work."""


@dataclass(frozen=True)
class Prepared:
    """What a run of `prepare` left."""

    clips: int
    """Clips of this shard."""
    made: int
    """Of these, made by this run."""
    failed: int
    cut: int
    """Clips that end where their damaged original breaks off."""
    bytes: int
    seconds: float


def prepare(
    plan: Plan,
    done: Mapping[int, Entry] | None = None,
    *,
    workers: int = -1,
    max_bytes: float = float("inf"),
    limit_s: float = LIMIT_S,
    progress: Progress | None = None,
) -> Prepared:
    """Make the clips of this shard that are not in ``done`` (default: `finished`), with so many processes.

    ``workers`` -1: one per core; 0: in this process, where a crash of a decoder ends everything. Raises SetupError when
    the disk is full or ``max_bytes`` is reached: what is finished stays, and the next call continues.
    """
    began = time.monotonic()
    with explained(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    lock = plan.folder / plan.shard.name(".lock", "")
    with exclusive(lock, f"Another process is preparing into '{plan.folder}'. Wait for it."):
        entries = dict(finished(plan) if done is None else done)
        _begin(plan, entries)
        mine = plan.mine()
        tasks = plan.tasks([clip for clip in mine if clip not in entries])
        made, total = 0, sum(entry.bytes for entry in entries.values())
        with contextlib.ExitStack() as stack, _Index(plan.index) as index:
            source = stack.enter_context(contextlib.closing(_made(tasks, cores() if workers < 0 else workers, limit_s)))
            for entry in source:
                entries[entry.clip] = entry
                index.add(entry)
                made += not entry.error
                if progress is not None:
                    progress(len(entries), len(mine))
                total += entry.bytes
                if total > max_bytes:
                    raise SetupError(
                        f"--max-disk-gib is reached: {total / 2**30:.2f} GiB in {len(entries)} of {len(mine)} "
                        "clips. What is finished stays; the same command with a higher limit continues."
                    )
        _write_index(plan, entries)
        failed = [entry for entry in entries.values() if entry.error]
        _write_failed(plan, failed)
    return Prepared(
        clips=len(entries),
        made=made,
        failed=len(failed),
        cut=sum(entry.cut_s is not None for entry in entries.values()),
        bytes=sum(entry.bytes for entry in entries.values()),
        seconds=time.monotonic() - began,
    )


def _begin(plan: Plan, entries: Mapping[int, Entry]) -> None:
    """Card and rows, and nothing left of a run that was killed."""
    text = rows_text(plan.rows)
    if not (plan.folder / ROWS).exists() or (plan.folder / ROWS).read_bytes() != text:
        replace_bytes(plan.folder / ROWS, text)
    if not (plan.folder / CARD).exists():
        write_json(plan.folder / CARD, plan.card)
    for left in plan.folder.glob(f"clips/*/.*.{plan.shard.number}of{plan.shard.of}.tmp"):
        left.unlink(missing_ok=True)
    _write_index(plan, entries)


def _write_index(plan: Plan, entries: Mapping[int, Entry]) -> None:
    """The index in the order of the clips: the same bytes however often the work was interrupted."""
    replace_bytes(plan.index, b"".join(to_line(entries[clip]) for clip in sorted(entries)))


def _write_failed(plan: Plan, failed: Sequence[Entry]) -> None:
    if not failed:
        plan.failed.unlink(missing_ok=True)
        return
    found = sorted(failed, key=lambda entry: entry.clip)
    with explained(plan.folder):
        write_exclusions(plan.failed, [(clip_key(plan.clips[entry.clip]), entry.error) for entry in found])


class _Index:
    """The index, a line for each clip as it is finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._synced_s = time.monotonic()

    def __enter__(self) -> _Index:
        with explained(self.path.parent):
            self._file = open(self.path, "ab")
        return self

    def add(self, entry: Entry) -> None:
        with explained(self.path.parent):
            self._file.write(to_line(entry))
            self._file.flush()
            if time.monotonic() - self._synced_s > SYNC_S:
                os.fsync(self._file.fileno())
                self._synced_s = time.monotonic()

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def _made(tasks: Sequence[Task], workers: int, limit_s: float) -> Generator[Entry, None, None]:
    """Entries in the order in which they are finished."""
    if workers == 0:
        yield from map(make, tasks)
        return
    if not tasks:
        return
    messages = ((number, encode(task)) for number, task in enumerate(tasks))
    hands = min(workers, len(tasks))
    with contextlib.closing(Crew("kinelite.data.prepare.maker", b"", hands, limit_s)) as crew:
        for number, answer in crew.each(messages):
            if isinstance(answer, Lost):
                yield lost_entry(tasks[number], answer)
                continue
            outcome = decode(answer, Outcome)
            if outcome.entry is None:
                raise SetupError(outcome.setup)
            yield outcome.entry
