"""``moments:ROOT``: Moments in Time, three-second clips of 339 actions and events (arXiv 1801.03150)."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator
from pathlib import Path

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.sets._lookup import Entry, VideoIndex, listed_set, root_folder
from kinelite.data.split import refuse_options
from kinelite.data.tables import find_file, read_lines, whole
from kinelite.errors import DataError

TREE = """\
ROOT/moments_categories.txt  ROOT/trainingSet.csv  ROOT/validationSet.csv  (or all three in ROOT/annotations/)
ROOT/training/clapping/CLIP.mp4
ROOT/validation/clapping/CLIP.mp4"""
CLASSES = {"version 1": 339, "version 2": 305}
_SIDES = {
    "train": ("trainingSet.csv", ("training", "videos/training")),
    "val": ("validationSet.csv", ("validation", "videos/validation")),
}


@register_set(
    "moments",
    spec="moments:ROOT",
    summary="Moments in Time: categories, training and validation lists, class folders",
    tree=TREE,
    licence="MIT-IBM Watson AI Lab: non-commercial research and education, after registration.",
    source="Monfort et al.: Moments in Time (arXiv 1801.03150), http://moments.csail.mit.edu",
    published={"classes": 339, "train": 791297, "val": 33900},
)
def load(root: str, split: SplitConfig, options: SetOptions) -> Manifest:
    """Clips of trainingSet.csv ('train') and validationSet.csv ('val'); one of the two will do.

    Classes and their order are those of moments_categories.txt (339 in version 1, 305 in version 2). Raises DataError
    for lists that are missing, malformed or contradict one another, and when none of their clips is there.
    """
    refuse_options(split, "moments brings its own split")
    top = root_folder("moments", root)
    classes = _categories(_list(top, "moments_categories.txt", "list of categories"))
    lists = [(side, file) for side, (name, _) in _SIDES.items() if (file := _maybe(top, name))]
    if not lists:
        _list(top, "trainingSet.csv", "list of clips")
    index = VideoIndex(top)
    entries: list[Entry] = []
    absent: list[str] = []
    for side, file in lists:
        folders = _SIDES[side][1]
        for where, name, label in _clips(file, classes):
            if path := index.look_up(folders, name, where, options.outside):
                entries.append(Entry(where, path, label, side))
            else:
                absent.append(f"{top}/{folders[0]}/{name}")
    notes = _version(len(classes))
    return listed_set("moments", {"label": classes}, entries, absent, top=top, tree=TREE, notes=notes)


def _maybe(top: Path, name: str) -> Path | None:
    return next((file for file in (top / name, top / "annotations" / name) if file.is_file()), None)


def _list(top: Path, name: str, what: str) -> Path:
    return find_file(top, name, f"annotations/{name}", what=what)


def _version(classes: int) -> list[str]:
    known = [version for version, count in CLASSES.items() if count == classes]
    if known == ["version 1"]:
        return []
    what = known[0] if known else "neither version 1 (339) nor version 2 (305)"
    return [f"{classes} classes in moments_categories.txt: {what}. Published counts are those of version 1."]


def _categories(file: Path) -> tuple[str, ...]:
    """Names in the order of their numbers, from lines 'name,number'."""
    names: dict[int, str] = {}
    for where, text in read_lines(file):
        name, _, number = (part.strip() for part in text.rpartition(","))
        index = whole(where, "number of the category", number)
        if not name or index in names or name in names.values():
            raise DataError(f"{where}: '{text}'; expected 'NAME,NUMBER', each name and number once.")
        names[index] = name
    if not names or sorted(names) != list(range(len(names))):
        raise DataError(f"{file}: {len(names)} categories must be numbered 0 to {len(names) - 1} without a gap.")
    return tuple(names[index] for index in sorted(names))


def _clips(file: Path, classes: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    """(where, 'class/clip.mp4', class index) of each line 'class/clip.mp4,class,...'; votes follow and are ignored."""
    number = {name: index for index, name in enumerate(classes)}
    for where, text in read_lines(file):
        name, label, *_ = *_cells(where, text), ""
        if not name or "/" not in name:
            raise DataError(f"{where}: '{text}'; expected 'CLASS/clip.mp4,CLASS'.")
        if label not in number:
            near = difflib.get_close_matches(label, classes, n=1)
            hint = f" Nearest: {near[0]}." if near else ""
            raise DataError(f"{where}: '{label}' is not in moments_categories.txt.{hint}")
        yield where, name, number[label]


def _cells(where: str, text: str) -> list[str]:
    if '"' not in text:
        return [cell.strip() for cell in text.split(",")]
    try:
        return [cell.strip() for cell in next(csv.reader([text], strict=True))]
    except csv.Error as error:
        raise DataError(f"{where} cannot be read as CSV: {error}.") from error
