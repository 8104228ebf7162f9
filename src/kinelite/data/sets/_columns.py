"""Which columns a list without a header has: read from the right, so that a path may hold the separator."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from kinelite.errors import DataError, UsageError

Separator = Literal["auto", "space", "tab", "comma"]
FORMATS = ("auto", "labels", "parts", "rawframes")
ROLES = ("start", "end", "frames", "split", "skip")
"""Columns that are no labels."""
_MARKS = {"space": None, "tab": "\t", "comma": ","}
_NUMBER = re.compile(r"[-+]?[0-9]*\.?[0-9]+")

Lines = Sequence[tuple[str, str]]
"""(file and line, text) of each line."""


class Cells(NamedTuple):
    """One line of a list."""

    where: str
    path: str
    values: dict[str, str]
    """Text by column."""


def find_separator(lines: Lines, given: Separator) -> str | None:
    """What stands between columns, None for any white space: a tab or comma that every line has, else white space."""
    if given != "auto":
        return _MARKS[given]
    if all("\t" in text for _, text in lines):
        return "\t"
    # 'one, two.mp4 3': the comma is part of the path when white space follows it further on.
    return "," if all("," in text and " " not in text.rsplit(",", 1)[1].strip() for _, text in lines) else None


def find_columns(lines: Lines, mark: str | None, form: str, tasks: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns after the path: start, end, frames, split, skip, and others that are tasks.

    Raises UsageError for a ``form`` that is none, and where the lines alone do not decide.
    """
    if "+" in form:
        return _given(form, tasks)
    if form not in FORMATS:
        raise UsageError(f"format={form}: give {', '.join(FORMATS)}, or the columns, such as path+start+end+label.")
    many = _count(lines, mark)
    if form == "auto":
        form = _guess(lines, mark, many, len(tasks))
    first = {"parts": ("start", "end"), "rawframes": ("frames",), "labels": ()}[form]
    labels = len(tasks) or (1 if form == "rawframes" else max(1, many - len(first)))
    return (*first, *(tasks or _task_names(labels)))


def _given(form: str, tasks: Sequence[str]) -> tuple[str, ...]:
    path, *columns = form.split("+")
    labels = [name for name in columns if name not in ROLES]
    repeated = [name for name, count in Counter(columns).items() if count > 1 and name != "skip"]
    if path != "path" or not labels or "" in columns or repeated or ("start" in columns) != ("end" in columns):
        raise UsageError(
            f"format={form}: path first, then any of {', '.join(ROLES)} and at least one label; start goes with end, "
            "and only skip may be there twice. Such as path+start+end+verb+noun."
        )
    if tasks and list(tasks) != labels:
        raise UsageError(f"tasks={'+'.join(tasks)} contradicts format={form}. Leave tasks out.")
    return tuple(columns)


def _task_names(count: int) -> tuple[str, ...]:
    return ("label",) if count == 1 else tuple(f"label_{i}" for i in range(1, count + 1))


def _pieces(text: str, mark: str | None) -> list[str]:
    return [piece.strip() for piece in text.split(mark)]


def _count(lines: Lines, mark: str | None) -> int:
    """Columns after the path: numbers at the end of most lines; without any, one text, or what separators divide."""
    counts: Counter[int] = Counter()
    for _, text in lines:
        pieces = _pieces(text, mark)[1:]
        numbers = next((i for i, piece in enumerate(reversed(pieces)) if not _NUMBER.fullmatch(piece)), len(pieces))
        counts[numbers or (0 if mark is None else -len(pieces))] += 1
    most = max(counts, key=lambda count: (counts[count], count))
    return abs(most) or 1


def _guess(lines: Lines, mark: str | None, many: int, tasks: int) -> str:
    if tasks and many in (tasks, tasks + 2):
        return "labels" if many == tasks else "parts"
    where, pieces = next((w, p) for w, text in lines if len(p := _pieces(text, mark)) > many or many == 1)
    middle = pieces[-many:-1]
    if many == 2 and _NUMBER.fullmatch(middle[0]):
        raise UsageError(
            f"{where}: two numbers after the path can mean several things. Say format=rawframes (folder, number of "
            "frames, label), format=labels (two labels), or format=path+label (the first number is part of the path)."
        )
    if many > 2 and all(map(_NUMBER.fullmatch, middle[:2])):
        return "parts"
    return "labels"


def cut(line: tuple[str, str], mark: str | None, columns: Sequence[str]) -> Cells:
    """The cells of one line. Raises DataError when there are too few or one is empty."""
    where, text = line
    path, *values = [piece.strip() for piece in text.rsplit(mark, len(columns))]
    if len(values) != len(columns) or not path or "" in values:
        raise DataError(f"{where}: '{text[:80]}' is not a path and {len(columns)} values ({', '.join(columns)}).")
    if "skip" in columns:
        kept = [(name, value) for name, value in zip(columns, values, strict=True) if name != "skip"]
        return Cells(where, _bare(path), {name: _bare(value) for name, value in kept})
    return Cells(where, _bare(path), dict(zip(columns, map(_bare, values), strict=True)))


def _bare(text: str) -> str:
    """Text without the quotes around it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
