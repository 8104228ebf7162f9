"""Clips to leave out: the CSV file that `kinelite data check --out` writes and every set takes as ``exclude=FILE``."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Container, Iterable
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
    """Clips named in an exclusion list. Raises DataError that names the line for what does not fit."""
    return frozenset(read_reasons(file))


def read_reasons(file: str | os.PathLike[str]) -> dict[ClipKey, str]:
    """Clips named in an exclusion list, and why; a line without times names every part of its file.

    Relative paths start at the folder of the list. Raises DataError that names the line for what does not fit.
    """
    found: dict[ClipKey, str] = {}
    for line in read_table(Path(file).expanduser(), needed=("path",)):
        path = os.path.abspath(Path(file).expanduser().parent / line["path"])
        times = (seconds(line, "start_s"), seconds(line, "end_s"))
        found[path, *times] = line.get("reason", "")
    return found


def write_exclusions(file: str | os.PathLike[str], clips: Iterable[tuple[ClipKey, str]]) -> None:
    """Write a list of (clip, reason), complete or not at all; a clip with several reasons takes one line.

    Clips below the list's folder are named relative to it, so that list and clips can be moved together, others by
    their absolute path. Raises OSError.
    """
    target = Path(file).expanduser()
    folder = os.path.abspath(target.parent)
    reasons: dict[ClipKey, list[str]] = {}
    for key, reason in clips:
        reasons.setdefault(key, []).append(reason)
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for (path, start_s, end_s), found in reasons.items():
        table.writerow((_from(folder, path), *map(_cell, (start_s, end_s)), "; ".join(found)))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        # Names that are not UTF-8 cannot be kept in a table that is; they are written so that they can be recognised.
        temporary.write_bytes(text.getvalue().encode("utf-8", errors="backslashreplace"))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _from(folder: str, path: str) -> str:
    inside = os.path.splitdrive(folder)[0] == os.path.splitdrive(path)[0] and os.path.relpath(path, folder)
    return inside if inside and inside.split(os.sep)[0] != os.pardir else path


def _cell(time_s: float | None) -> str:
    return "" if time_s is None else repr(float(time_s))


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


def _among(row: Row, excluded: Container[ClipKey]) -> bool:
    key = clip_key(row)
    return key in excluded or (key[0], None, None) in excluded
