"""Clips to leave out: the CSV file that `kinelite data check --out` writes and every set takes as ``exclude=FILE``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kinelite.data.manifest import Manifest, Row
from kinelite.data.tables import read_table, seconds
from kinelite.errors import DataError

COLUMNS = ("path", "start_s", "end_s", "reason")

ClipKey = tuple[str, float | None, float | None]


def clip_key(row: Row) -> ClipKey:
    """What identifies a clip in the list: its absolute path and its part of the file."""
    return os.path.abspath(row.path), row.start_s, row.end_s


def read_exclusions(file: str | os.PathLike[str]) -> frozenset[ClipKey]:
    """Clips named in an exclusion list; a line without times names every part of its file.

    Relative paths start at the folder of the list. Raises DataError that names the line for what does not fit.
    """
    found = set()
    for line in read_table(Path(file).expanduser(), needed=("path",)):
        path = os.path.abspath(Path(file).expanduser().parent / line["path"])
        times = (seconds(line, "start_s"), seconds(line, "end_s"))
        found.add((path, *times))
    return frozenset(found)


def without(manifest: Manifest, file: str) -> Manifest:
    """The manifest without the clips that the list ``file`` names, and a note that counts them.

    Raises DataError when the list names no clip of the set at all, which hints at the wrong list.
    """
    excluded = read_exclusions(file)
    kept = tuple(row for row in manifest.rows if not _among(row, excluded))
    if excluded and len(kept) == len(manifest.rows):
        example = min(path for path, _, _ in excluded)
        raise DataError(
            f"{file} names {len(excluded)} clips, none of which is in '{manifest.name}', such as {example}."
        )
    note = f"Left out: {len(manifest.rows) - len(kept)} clips that {file} names."
    return replace(manifest, rows=kept, notes=(*manifest.notes, note))


def _among(row: Row, excluded: Iterable[ClipKey]) -> bool:
    key = clip_key(row)
    return key in excluded or (key[0], None, None) in excluded
