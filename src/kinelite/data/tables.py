"""Annotation files as people have them: CSV, JSON and lists, with byte order marks, CRLF and damaged lines named."""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kinelite.errors import DataError, neighbours

_LINE_END = re.compile(r"\r\n|\r|\n")


class Line(dict[str, str]):
    """Cells of one line by column, stripped; ``where`` names file and line for messages."""

    def __init__(self, where: str, cells: dict[str, str]) -> None:
        super().__init__(cells)
        self.where = where


def read_text(file: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark. Raises DataError."""
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise DataError(f"{file} {what}. {neighbours(file)}")
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error


def read_table(
    file: Path, needed: Sequence[str] = (), delimiter: str = ",", header: Sequence[str] | None = None
) -> list[Line]:
    """Lines of a CSV file by column name; blank lines are left out. ``header`` names the columns of a file without one.

    Raises DataError that names the file and line: not CSV, a column that is missing or there twice, too many or too few
    cells.
    """
    reader = csv.reader(io.StringIO(read_text(file), newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in (header if header is not None else next(reader, []))]
        _check_columns(file, columns, needed)
        return [
            Line(f"{file}, line {reader.line_num}", _cells(f"{file}, line {reader.line_num}", columns, cells))
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num} cannot be read as CSV: {error}.") from error


def _check_columns(file: Path, columns: Sequence[str], needed: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise DataError(f"{file}: the column '{repeated[0]}' is there more than once.")
    for name in needed:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
            hint = f" Should '{near[0]}' be called '{name}'?" if near else ""
            raise DataError(f"{file} has no column '{name}'. Its columns: {', '.join(columns) or 'none'}.{hint}")


def _cells(where: str, columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) != len(columns):
        raise DataError(f"{where}: {len(cells)} cells, but there are {len(columns)} columns ({', '.join(columns)}).")
    return dict(zip(columns, map(str.strip, cells), strict=True))


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """(where, text) of every line that is not blank; ``where`` names file and line for messages."""
    # Not splitlines, which also ends lines at characters that file names may hold, such as U+2028.
    for number, text in enumerate(_LINE_END.split(read_text(file)), start=1):
        if text.strip():
            yield f"{file}, line {number}", text.strip()


def read_json(file: Path) -> Any:
    """The value of a JSON file. Raises DataError that names file, line and column."""
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:  # beside bad JSON: a number of thousands of digits, deep nesting
        where = f", line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{file}{where} is not JSON: {error}.") from error


def seconds(line: Line, name: str) -> float | None:
    """A cell as seconds, None when it is empty or the column is missing. Raises DataError below 0 and for no number."""
    text = line.get(name, "")
    if not text:
        return None
    value = number(line.where, name, text)
    if value < 0:
        raise DataError(f"{line.where}: {name} is {text}; give seconds from the beginning of the file, 0 or more.")
    return value


def number(where: str, name: str, text: str) -> float:
    """A finite number; DataError that names ``where`` and ``name`` otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} '{text}' is not a number.")
    return value


def whole(where: str, name: str, text: str, below: int | None = None) -> int:
    """A whole number from 0, and below ``below``; DataError that names ``where``, ``name`` and the range otherwise."""
    allowed = "0 or more" if below is None else f"0 to {below - 1}"
    readable = text.isascii() and text.isdigit() and len(text) < 19
    if not readable or (below is not None and int(text) >= below):
        raise DataError(f"{where}: {name} is '{text}'; allowed: whole numbers, {allowed}.")
    return int(text)


def check_times(where: str, start_s: float | None, end_s: float | None) -> None:
    """Raises DataError when a part of a file ends before it begins."""
    if end_s is not None and end_s <= (start_s or 0.0):
        raise DataError(f"{where}: the clip ends at {end_s:g} s and begins at {start_s or 0.0:g} s.")


def inside(root: Path, name: str, where: str, outside: bool = False) -> Path:
    """``name`` below ``root``. Raises DataError for an absolute path and one that leaves the root, unless ``outside``.

    Decided by the text alone: links inside the root are the user's own and may lead anywhere.
    """
    if "\0" in name or not name:
        raise DataError(f"{where}: {name!r} is not a path.")
    path = root / name
    if not outside and (os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == os.pardir):
        raise DataError(
            f"{where}: '{name}' leads out of {root}. If that is meant, add ',outside=true' to the set's name."
        )
    return path


def find_file(root: Path, *names: str, what: str) -> Path:
    """The first of ``names`` (globs allowed) that is a file below ``root``; DataError naming all that would do."""
    for name in names:
        for path in sorted(root.glob(name)):
            if path.is_file():
                return path
    raise DataError(f"{root} holds no {what}: {' or '.join(names)}. {neighbours(root / names[0])}")
