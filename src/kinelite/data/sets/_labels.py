"""Labels of lists: class numbers or names, with or without a file that says which class has which number."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from kinelite.data.tables import read_lines, read_table, whole
from kinelite.errors import DataError

MOST_CLASSES = 100_000
"""Class numbers are below this: a label such as 20210401 is a mistake, and would cost a head of that size."""
_NUMBERED = re.compile(r"(?P<id>[0-9]{1,9})[\s,;:]+(?P<name>\S.*)")
_NAME_COLUMNS = ("name", "key", "label", "class")


@dataclass(frozen=True)
class Classes:
    """The classes of one task."""

    names: tuple[str, ...]
    by_text: Mapping[str, int]
    """What a list may write -> class."""
    source: str
    """File that the names come from, or the lists' own labels."""
    found: bool = False
    """Names are those that occur, so each of them needs a clip to train on."""

    def number(self, where: str, task: str, text: str) -> int:
        """The class that ``text`` means. Raises DataError that names ``where`` and the nearest."""
        known = self.by_text.get(text)
        if known is None:
            near = difflib.get_close_matches(text, self.by_text, n=1)
            hint = f" Nearest: '{near[0]}'." if near else ""
            raise DataError(f"{where}: {task} '{text[:60]}' is none of the {len(self.names)} of {self.source}.{hint}")
        return known


def number_labels(labels: Sequence[tuple[str, str]], task: str) -> Classes:
    """Classes of (where, text): 0 to the largest when all are whole numbers, else the names that occur, sorted."""
    texts = {text for _, text in labels}
    if not all(re.fullmatch(r"[+-]?[0-9.]+", text) for text in texts):
        names = tuple(sorted(texts))
        return Classes(names, {name: k for k, name in enumerate(names)}, "the list", found=True)
    known: dict[str, int] = {}
    for where, text in labels:
        if text not in known:
            known[text] = whole(where, task, text, below=MOST_CLASSES)
    # Numbers without a clip keep their place, so that class 7 of a model is class 7 of the list.
    return Classes(tuple(map(str, range(max(known.values()) + 1))), known, "the list")


def read_classes(file: Path) -> Classes:
    """Classes of a file: names by line; 'id name' in every line; or CSV with the columns id and name, key or label.

    Raises DataError for names or ids that are there twice and for an empty file.
    """
    listed = _from_csv(file) if file.suffix.lower() == ".csv" else _from_lines(file)
    if not listed:
        raise DataError(f"{file} holds no classes.")
    names: list[str] = []
    by_text: dict[str, int] = {}
    for index, (_, name, where) in enumerate(sorted(listed, key=lambda item: item[0])):
        if name in by_text:
            raise DataError(f"{where}: the class '{name}' is there twice.")
        by_text[name] = index
        names.append(name)
    numbers = sorted(number for number, _, _ in listed)
    if len(set(numbers)) < len(numbers):
        twice = next(a for a, b in pairwise(numbers) if a == b)
        raise DataError(f"{file}: the id {twice} is there twice.")
    # The number decides where a name is itself a number.
    by_text |= {str(number): index for index, number in enumerate(numbers)}
    return Classes(tuple(names), by_text, str(file))


def _from_lines(file: Path) -> list[tuple[int, str, str]]:
    lines = list(read_lines(file))
    matches = [_NUMBERED.fullmatch(text) for _, text in lines]
    if lines and all(matches):
        return [(int(m["id"]), m["name"], where) for m, (where, _) in zip(matches, lines, strict=True) if m]
    return [(index, text, where) for index, (where, text) in enumerate(lines)]


def _from_csv(file: Path) -> list[tuple[int, str, str]]:
    lines = read_table(file, needed=("id",))
    if not lines:
        return []
    column = next((name for name in _NAME_COLUMNS if name in lines[0]), None)
    if column is None:
        raise DataError(
            f"{file} has no column with names. Its columns: {', '.join(lines[0])}; allowed: name, key, label."
        )
    return [(whole(line.where, "id", line["id"], below=10**9), line[column], line.where) for line in lines]
