"""Looks at all clips of a set: those that a journal remembers are taken from there, the others done in parallel."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence

from kinelite.data.check.journal import Journal, stamp_of
from kinelite.data.check.look import Depth, Look
from kinelite.data.check.lookers import LIMIT_S, look_at
from kinelite.data.manifest import Row

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all) in the calling thread."""


def survey(
    rows: Sequence[Row],
    depth: Depth = "ends",
    workers: int = 0,
    progress: Progress | None = None,
    limit_s: float = LIMIT_S,
    journal: Journal | None = None,
) -> list[Look]:
    """What a look at each row found, in their order.

    ``workers``: processes (0: this one, where nothing bounds a clip's time). ``limit_s``: seconds for one clip.
    """
    journal = journal or Journal()
    # Once per file, and only when needed: a folder of images is as many files as it has frames.
    stamp = functools.cache(stamp_of)
    found = [journal.find(row, stamp(row.path), depth, limit_s) if journal.knows(row) else None for row in rows]
    # Parts of one file stand together: its packets are then read once or twice, not once per part.
    todo = sorted((i for i, look in enumerate(found) if look is None), key=lambda i: os.path.abspath(rows[i].path))
    done = len(rows) - len(todo)
    if progress is not None and done:
        progress(done, len(rows))
    for place, look in look_at([rows[i] for i in todo], depth, workers, limit_s):
        row = rows[todo[place]]
        found[todo[place]] = look
        if journal.writes:
            journal.keep(row, stamp(row.path), depth, limit_s, look)
        done += 1
        if progress is not None:
            progress(done, len(rows))
    return [look for look in found if look is not None]
