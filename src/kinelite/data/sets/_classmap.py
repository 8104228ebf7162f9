"""Class lists that come with Kinetics, in the formats of the tools that people use: text, CSV and JSON."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from kinelite.data.tables import read_json, read_lines, read_table, whole
from kinelite.errors import DataError

# mmaction2, then PySlowFast and video-nonlocal-net, then lists with a header 'id,name'.
PATTERNS = (
    "*label_map*.txt",
    "*classids.json",
    "*classnames.json",
    "*id2label.json",
    "*labels_to_id.csv",
    "kinetics*labels.csv",
    "classes.txt",
)


def clean(name: str) -> str:
    """A class name without the quotes and underscores that tools put in: '"riding_a_bike"' is 'riding a bike'."""
    return " ".join(name.replace('"', "").replace("_", " ").replace("\u2019", "'").split())


@lru_cache(maxsize=4096)
def key(name: str) -> str:
    """What two spellings of one class have in common: `clean`, without regard to case and apostrophes."""
    return clean(name).casefold().replace("'", "")


def once(names: set[str]) -> list[str]:
    """Names sorted, one spelling of each."""
    return sorted({key(name): name for name in sorted(names, reverse=True)}.values())


class ClassList:
    """Class names in the order of their numbers, found by any of their spellings."""

    def __init__(self, names: Iterable[str], origin: str) -> None:
        self.names = tuple(names)
        self.origin = origin
        self._numbers = {key(name): number for number, name in enumerate(self.names)}
        if len(self._numbers) < len(self.names):
            seen = [key(name) for name in self.names]
            twice = next(name for name in self.names if seen.count(key(name)) > 1)
            raise DataError(f"{origin}: the class '{twice}' is there more than once.")

    def number(self, label: str) -> int | None:
        """Number of the class called ``label``; None when there is none."""
        return self._numbers.get(key(label))

    def need(self, where: str, label: str) -> int:
        """As `number`, but raises DataError that names ``where`` and the nearest class."""
        found = self.number(label)
        if found is None:
            near = difflib.get_close_matches(key(label), self._numbers, n=1)
            hint = f" Nearest: {near[0]}." if near else ""
            raise DataError(f"{where}: the class '{label}' is not among the {len(self.names)} of {self.origin}.{hint}")
        return found


def find_class_list(folders: Iterable[Path], wanted: int) -> ClassList | None:
    """The class list that lies in one of ``folders``, that of ``wanted`` classes before others; None without any.

    Raises DataError for a list that cannot be read.
    """
    files = [file for folder in folders for pattern in PATTERNS for file in sorted(folder.glob(pattern))]
    lists = [read_class_list(file) for file in dict.fromkeys(files) if file.is_file()]
    return next((found for found in lists if len(found.names) == wanted), next(iter(lists), None))


def read_class_list(file: Path) -> ClassList:
    """Classes from lines of names, CSV with the columns id and name, or JSON (a list, name -> id or id -> name).

    Raises DataError for numbers that do not run from 0 without a gap and for names that are there twice.
    """
    if file.suffix == ".json":
        return ClassList(_from_json(file), str(file))
    if file.suffix == ".csv":
        lines = read_table(file, needed=("id", "name"))
        numbered = {whole(line.where, "id", line["id"]): line["name"] for line in lines}
        return ClassList(_in_order(file, numbered, len(lines)), str(file))
    return ClassList((clean(text) for _, text in read_lines(file)), str(file))


def _from_json(file: Path) -> list[str]:
    value = read_json(file)
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return [clean(name) for name in value]
    if not isinstance(value, Mapping) or not value:
        raise DataError(f"{file}: expected a list of class names, or an object of names and numbers.")
    pairs = [(number, name) for name, number in value.items()]
    if all(isinstance(number, str) for number, _ in pairs):
        pairs = [(name, number) for number, name in pairs]
    return _in_order(file, {_index(file, number): str(name) for number, name in pairs}, len(pairs))


def _index(file: Path, number: Any) -> int:
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    return whole(str(file), "class number", str(number))


def _in_order(file: Path, numbered: Mapping[int, str], count: int) -> list[str]:
    if not count or sorted(numbered) != list(range(count)):
        raise DataError(f"{file}: its {count} classes must be numbered 0 to {count - 1}, each once.")
    return [clean(numbered[number]) for number in range(count)]
