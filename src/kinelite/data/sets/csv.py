"""``csv:FILE``: a table of clips with the columns path and label, and optionally split, start_s, end_s and group.

Several label columns make several tasks: ``label_verb`` and ``label_noun`` the tasks 'verb' and 'noun'.
"""

from __future__ import annotations

import csv
import difflib
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest, Row
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.split import check_groups, check_split, check_train, hold_out, refuse_options
from kinelite.errors import DataError, neighbours

SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
USUAL_NAMES = ("file", "filename", "filepath", "video", "video_path", "clip", "class", "action", "category")


@dataclass(frozen=True)
class _Line:
    """One data line of the file, before labels are numbered."""

    number: int
    name: str
    """The path as written."""
    labels: tuple[str, ...]
    split: str
    start_s: float | None
    end_s: float | None
    group: str


@register_set("csv", spec="csv:FILE", summary="a table: path, label(s), and if wanted split, start_s, end_s, group")
def load(root: str, split: SplitConfig, options: SetOptions) -> Manifest:
    """Rows of a UTF-8 CSV file with a header. Relative paths are relative to the file's folder.

    Classes are sorted by name, or by value when all are whole numbers. Without val and test rows, clips are held out
    as ``split`` says. Raises DataError that names the line for whatever does not fit, and all missing files at once.
    """
    check_split(split)
    file = Path(root).expanduser()
    header, table = _read(file, root)
    tasks_of = _label_columns(header, file)
    lines = [_line(file, number, values, tasks_of) for number, values in table]
    if not lines:
        raise DataError(f"{file} has a header and no rows.")
    _check_duplicates(file, lines)
    _check_files(file, lines)
    classes = {task: _class_names([line.labels[i] for line in lines]) for i, task in enumerate(tasks_of.values())}
    numbers = [{name: k for k, name in enumerate(names)} for names in classes.values()]
    rows = tuple(
        Row(
            path=str(file.parent / line.name),
            labels=tuple(number[label] for number, label in zip(numbers, line.labels, strict=True)),
            split=line.split,
            start_s=line.start_s,
            end_s=line.end_s,
            group=line.group,
        )
        for line in lines
    )
    rows, note = _with_splits(file, rows, lines, split)
    check_train(rows, classes)
    return Manifest(f"csv:{root}", classes, rows, notes=(note,))


def _read(file: Path, root: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names, and line number with values by column of every line that is not blank."""
    if not root:
        raise DataError("csv: needs a file, such as csv:annotations.csv.")
    if not file.is_file():
        what = "is a folder." if file.is_dir() else f"does not exist. {neighbours(file)}"
        raise DataError(f"{file} {what} csv:FILE takes a CSV file with the columns path and label.")
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip() for name in next(reader, [])]
            table = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text (byte {error.start}). Save it as CSV UTF-8.") from error
    except (csv.Error, OSError) as error:
        raise DataError(f"{file} cannot be read as CSV: {error}.") from error
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise DataError(f"{file}: the column '{repeated[0]}' is there more than once.")
    for number, cells in table:
        if len(cells) != len(header):
            raise DataError(f"{file}, line {number}: {len(cells)} cells, but the header has {len(header)} columns.")
    return header, [(number, dict(zip(header, map(str.strip, cells), strict=True))) for number, cells in table]


def _label_columns(header: Sequence[str], file: Path) -> dict[str, str]:
    """Label column -> task. Raises DataError that lists the columns when one is missing."""
    labels = [name for name in header if name == "label" or name.startswith("label_")]
    for needed, there in (("path", "path" in header), ("label", bool(labels))):
        if not there:
            near = difflib.get_close_matches(needed, header, n=1, cutoff=0.5)
            near = near or [name for name in header if name.lower() in USUAL_NAMES]
            hint = f" Should '{near[0]}' be called '{needed}'?" if near else ""
            raise DataError(f"{file} has no column '{needed}'. Its columns: {', '.join(header) or 'none'}.{hint}")
    return {name: name.removeprefix("label_") for name in labels}


def _line(file: Path, number: int, values: dict[str, str], tasks_of: dict[str, str]) -> _Line:
    where = f"{file}, line {number}"
    empty = [name for name in ("path", *tasks_of) if not values[name]]
    if empty:
        raise DataError(f"{where}: the column '{empty[0]}' is empty.")
    start_s, end_s = (_seconds(where, name, values.get(name, "")) for name in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise DataError(f"{where}: the clip ends at {end_s:g} s and begins at {start_s or 0.0:g} s.")
    given = values.get("split", "")
    if given and given.lower() not in SPLITS:
        near = difflib.get_close_matches(given.lower(), SPLITS, n=1)
        hint = f" Nearest: {near[0]}." if near else ""
        raise DataError(f"{where}: unknown split '{given}'. Allowed: train, val (or validation), test.{hint}")
    labels = tuple(values[name] for name in tasks_of)
    split = SPLITS.get(given.lower(), "")
    return _Line(number, values["path"], labels, split, start_s, end_s, values.get("group", ""))


def _seconds(where: str, name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{where}: {name} '{text}' is not a number of seconds.") from None
    if not math.isfinite(value) or value < 0:
        raise DataError(f"{where}: {name} is {text}; give seconds from the beginning of the file, 0 or more.")
    return value


def _check_duplicates(file: Path, lines: Sequence[_Line]) -> None:
    seen: dict[tuple[str, float | None, float | None], int] = {}
    for line in lines:
        key = (os.path.normpath(line.name), line.start_s, line.end_s)
        if key in seen:
            raise DataError(f"{file}, line {line.number}: the same clip as in line {seen[key]} ({line.name}).")
        seen[key] = line.number


def _check_files(file: Path, lines: Sequence[_Line]) -> None:
    missing = [line for line in lines if not (file.parent / line.name).exists()]
    if missing:
        first = "; ".join(f"line {line.number}: {line.name}" for line in missing[:3])
        raise DataError(
            f"{file}: {len(missing)} of {len(lines)} files do not exist ({first}). "
            f"Relative paths start at {file.parent.resolve()}."
        )


def _class_names(labels: Sequence[str]) -> tuple[str, ...]:
    names = set(labels)
    try:
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(names))


def _with_splits(
    file: Path, rows: tuple[Row, ...], lines: Sequence[_Line], split: SplitConfig
) -> tuple[tuple[Row, ...], str]:
    given = Counter(row.split for row in rows)
    if given[""] and len(given) > 1:
        line = next(line for line in lines if not line.split)
        raise DataError(f"{file}, line {line.number}: the split is empty, but other lines have one.")
    if set(given) <= {"", "train"}:
        return hold_out(rows, [line.name for line in lines], split)
    refuse_options(split, f"{file} has a split column")
    check_groups(rows)
    return rows, "Split by column: " + ", ".join(f"{side} {given[side]} clips" for side in sorted(given)) + "."
