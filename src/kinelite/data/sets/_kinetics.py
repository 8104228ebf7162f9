"""Clips of Kinetics: where their videos lie below a root, and lists 'path label' as common tools write them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from kinelite.data.sets._classmap import PATTERNS, ClassList, clean, once
from kinelite.data.sets._lookup import Entry, VideoIndex
from kinelite.data.tables import inside, read_lines
from kinelite.errors import DataError, UsageError

SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "valid": "val", "test": "test"}
SIDE = re.compile(r"(?:^|[^a-z])(train|validation|validate|valid|val|test)(?=$|[^a-z]|list|set|ing)")
_LIST_LINE = re.compile(
    r"""["']?(?P<path>.*\.(?:mp4|mkv|webm|avi|mov|m4v|flv))["']?(?:\s*[,;]\s*|\s+)(?P<label>.+)""", re.I
)


@dataclass
class Found:
    """What the lists of one root yield."""

    entries: list[Entry] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choose(index: VideoIndex, stems: Sequence[str], labels: ClassList, label: int, side: str) -> tuple[str | None, str]:
    """The video of one of these names, and where it lies: in the folder of its 'class', of an 'other' one, or 'flat'.

    Of several copies the one in the folder of its class and split is taken, but before them all one in a folder
    'replacement...': Kinetics-400 comes with whole copies of clips that are broken in its archives.
    """
    for stem in stems:
        best = min((_rank(name, labels, label, side) for name in index.named(stem)), default=None)
        if best is not None:
            return best[2], ("class", "flat", "other", "replacement")[best[0]]
    return None, ""


def _rank(name: str, labels: ClassList, label: int, side: str) -> tuple[int, bool, str]:
    folders = name.split("/")[:-1]
    if any(folder.startswith("replacement") for folder in folders):
        return -1, False, name
    owner = labels.number(folders[-1]) if folders else None
    at = 0 if owner == label else 1 if owner is None else 2
    # The folder of a class is none of a split: 'training dog' is a class.
    beside = folders if owner is None else folders[:-1]
    return at, not any(match and SPLITS[match[1]] == side for match in map(SIDE.search, beside)), name


def from_lists(
    lists: dict[Path, str], known: ClassList | None, index: VideoIndex, prefix: str, outside: bool
) -> tuple[ClassList, Found]:
    """Clips of list files 'path label', where the label is a number or a name.

    ``prefix`` stands for the root in the paths. Paths that are not below the root are found by class folder and name.
    Raises DataError that names the line, UsageError for a prefix that no path has.
    """
    found = Found()
    lines = [(*line, side) for file, side in _with_labels(lists, found.notes) for line in _list_lines(file)]
    if prefix and not any(path.startswith(prefix) for _, path, _, _ in lines):
        raise UsageError(f"No path of {', '.join(f.name for f in lists)} begins with strip_prefix '{prefix}'.")
    labels = known or _classes_of(lines)
    foreign: list[str] = []
    elsewhere: list[str] = []
    for where, given, text, side in lines:
        label = _label(where, text, labels)
        path = given.removeprefix(prefix).lstrip("/") if prefix and given.startswith(prefix) else given
        name = direct = _direct(index, path, side, where, outside)
        if direct is None:
            name, place = choose(index, (os.path.splitext(os.path.basename(path))[0],), labels, label, side)
            name = None if place == "other" else name
        if name is None:
            found.absent.append(given)
            continue
        found.entries.append(Entry(where, index.path(name), label, side))
        foreign += [] if direct else [given]
        elsewhere += [where] if _rank(name, labels, label, side)[0] == 2 else []
    found.notes += _about_places(len(lines), foreign, elsewhere, labels, bool(prefix))
    return labels, found


def _about_places(
    lines: int, foreign: Sequence[str], elsewhere: Sequence[str], labels: ClassList, prefixed: bool
) -> list[str]:
    """Notes on clips that lie elsewhere than the lists say, or in the folder of another class.

    Raises DataError when that is so for most of them: then the lists number the classes in another order.
    """
    if 2 * len(elsewhere) > lines:
        raise DataError(
            f"{len(elsewhere)} of {lines} lines name a clip in the folder of another class, the first in "
            f"{elsewhere[0]}: its labels do not have the order of {labels.origin}. Put the class list of that order "
            "into the root."
        )
    notes = []
    if elsewhere:
        notes.append(
            f"{len(elsewhere)} clips lie in the folder of another class than the list says ({elsewhere[0]}, for "
            "example); the list counts."
        )
    if foreign:
        hint = "" if prefixed else " Say strip_prefix=... for the part that stands for the root."
        notes.append(
            f"{len(foreign)} paths of the lists are not below the root, such as {foreign[0]}; their clips were found "
            f"by class folder and name.{hint}"
        )
    return notes


def is_list(file: Path) -> bool:
    """Whether ``file`` is a list 'path label' rather than a table with a header; some lists are called train.csv."""
    return file.suffix != ".csv" or any(_LIST_LINE.fullmatch(text) for _, text in islice(read_lines(file), 1))


def _with_labels(lists: dict[Path, str], notes: list[str]) -> Iterator[tuple[Path, str]]:
    """Lists with their split, without a test list that has no labels (or -1, as some tools write)."""
    for file, side in lists.items():
        ends = (_cut_last(text)[1] for _, text in read_lines(file)) if side == "test" else ()
        if side == "test" and all(end in ("", "-1") for end in ends):
            notes.append(f"Left out: {file.name}, which has no labels.")
        else:
            yield file, side


def _list_lines(file: Path) -> Iterator[tuple[str, str, str]]:
    """(where, path, label) of each line; paths and labels may hold spaces."""
    for where, text in read_lines(file):
        match = _LIST_LINE.fullmatch(text)
        path, label = (match["path"], match["label"]) if match else _cut_last(text)
        if not path or not label or "\0" in path:
            raise DataError(f"{where}: '{text}'; expected 'path label', the label a number or a class name.")
        yield where, path, label.strip().strip("\"'")


def _cut_last(text: str) -> tuple[str, str]:
    parts = re.split(r"\s*[,;]\s*|\s+", text)
    return (text[: text.rfind(parts[-1])].rstrip(" ,;\t"), parts[-1]) if len(parts) > 1 else (text, "")


def _label(where: str, text: str, labels: ClassList) -> int:
    if text.isascii() and text.isdigit():
        if len(text) > 9 or int(text) >= len(labels.names):
            raise DataError(f"{where}: label {text}; {labels.origin} has classes 0 to {len(labels.names) - 1}.")
        return int(text)
    return labels.need(where, text)


def _classes_of(lines: Sequence[tuple[str, str, str, str]]) -> ClassList:
    """Classes where no class list lies in the root: names, or for numbers the names of the folders in the paths."""
    if not all(label.isascii() and label.isdigit() for _, _, label, _ in lines):
        return ClassList(once({clean(label) for _, _, label, _ in lines}), "the list files")
    names: dict[int, set[str]] = {}
    for where, path, label, _ in lines:
        if len(label) > 9:
            raise DataError(f"{where}: label {label} is not the number of a class.")
        names.setdefault(int(label), set()).add(clean(os.path.basename(os.path.dirname(path))))
    several = [number for number, folders in names.items() if len(folders) > 1]
    distinct = set().union(*names.values()) - {""}
    if several or len(distinct) < len(names) or sorted(names) != list(range(len(names))):
        what = f"{len(distinct)} folders for the {len(names)} numbers {min(names)} to {max(names)}"
        raise DataError(
            f"The lists number their classes and the folders do not name them ({what}). Put a class list "
            f"into the root: {' or '.join(PATTERNS[:5])}."
        )
    return ClassList((names[number].pop() for number in sorted(names)), "the folders in the lists")


def _direct(index: VideoIndex, path: str, side: str, where: str, outside: bool) -> str | None:
    """The video that ``path`` names as it stands: below the root, or below the folder of its split."""
    if os.path.isabs(path):
        if Path(path).is_relative_to(index.top.absolute()):
            return index.at(os.path.relpath(path, index.top.absolute()))
        return path if outside and os.path.isfile(path) else None
    there = inside(index.top, path, where, outside)
    found = index.first(("", side, f"videos_{side}", "videos"), path)
    return found or (str(there.absolute()) if outside and there.is_file() else None)
