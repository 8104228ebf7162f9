"""``jester:ROOT``: 148,092 clips of 27 hand gestures before a webcam, as folders of images (ICCV Workshops 2019)."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.sets._lookup import Entry, listed_set, root_folder
from kinelite.data.sets.folder import VIDEO_SUFFIXES
from kinelite.data.split import refuse_options
from kinelite.data.tables import find_file, read_lines, read_table
from kinelite.errors import DataError

TREE = """\
ROOT/jester-v1-labels.csv  jester-v1-train.csv  jester-v1-validation.csv  (or all in ROOT/annotations/)
ROOT/20bn-jester-v1/9223/00001.jpg  (one folder per clip, 12 images per second; or ROOT/rawframes/9223/)
  or made into videos: ROOT/videos/9223.mp4"""
FRAMES = "%05d.jpg"
_FOLDERS = ("20bn-jester-v1", "rawframes", "videos")
_SIDES = {"train": "jester-v1-train.csv", "val": "jester-v1-validation.csv", "test": "jester-v1-test.csv"}


@register_set(
    "jester",
    spec="jester:ROOT",
    summary="Jester hand gestures: labels, train and validation lists, folders of images",
    tree=TREE,
    licence="Qualcomm (formerly TwentyBN): research use under its data licence agreement, after registration.",
    source="Materzynska et al.: The Jester Dataset (ICCV Workshops 2019)",
    published={"classes": 27, "train": 118562, "val": 14787},
)
def load(root: str, split: SplitConfig, options: SetOptions) -> Manifest:
    """Clips of the train and validation lists as image sequences or videos; the test list without labels is left out.

    Classes have the order of jester-v1-labels.csv. Several differ in left and right alone, so the policy is one
    without mirroring. Raises DataError for lists that are missing, malformed or contradict one another, and when none
    of their clips is there.
    """
    refuse_options(split, "jester brings its own split")
    top = root_folder("jester", root)
    classes = _labels(_list(top, "jester-v1-labels.csv", "list of labels"))
    lists = {side: file for side, name in _SIDES.items() if (file := _maybe(top, name))}
    if not {"train", "val"} & lists.keys():
        _list(top, _SIDES["train"], "list of clips")
    there = _there(top)
    entries: list[Entry] = []
    absent: list[str] = []
    for side in ("train", "val"):
        for where, clip, label in _clips(lists[side], classes) if side in lists else ():
            if path := there.get(clip):
                entries.append(Entry(where, path, label, side))
            else:
                absent.append(os.path.join(top, _FOLDERS[0], clip, FRAMES))
    notes = [f"Left out: {lists['test'].name}, which has no labels."] if "test" in lists else []
    return listed_set(
        "jester", {"label": classes}, entries, absent, top=top, tree=TREE, notes=notes, policy="lightweight_ssv2"
    )


def _maybe(top: Path, name: str) -> Path | None:
    return next((file for file in (top / name, top / "annotations" / name) if file.is_file()), None)


def _list(top: Path, name: str, what: str) -> Path:
    return find_file(top, name, f"annotations/{name}", what=what)


def _labels(file: Path) -> tuple[str, ...]:
    names: dict[str, str] = {}
    for where, text in read_lines(file):
        if text in names:
            raise DataError(f"{where}: the label '{text}' stands in {names[text]} already.")
        names[text] = where
    if not names:
        raise DataError(f"{file} is empty; it should hold one label per line.")
    return tuple(names)


def _there(top: Path) -> dict[str, str]:
    """Id -> image sequence, or else video, of the clips below ``top``; of several the first folder's counts.

    Raises DataError for a folder that cannot be listed.
    """
    there: dict[str, str] = {}
    for folder in filter(os.path.isdir, (os.path.join(top, name) for name in _FOLDERS)):
        try:
            with os.scandir(folder) as found:
                items = [(item.name, item.is_dir()) for item in found]
        except OSError as error:
            raise DataError(f"{folder} cannot be listed: {error.strerror}.") from error
        for name, is_folder in sorted(items):
            stem, suffix = os.path.splitext(name)
            if is_folder:
                there.setdefault(name, os.path.join(folder, name, FRAMES))
            elif suffix.lower() in VIDEO_SUFFIXES:
                there.setdefault(stem, os.path.join(folder, name))
    return there


def _clips(file: Path, classes: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    """(where, id, class index) of each line 'id;label'."""
    number = {name: index for index, name in enumerate(classes)}
    for line in read_table(file, header=("id", "label"), delimiter=";"):
        if not (line["id"].isascii() and line["id"].isdigit()):
            raise DataError(f"{line.where}: '{line['id']}' is not the number of a clip; expected 'NUMBER;LABEL'.")
        if line["label"] not in number:
            near = difflib.get_close_matches(line["label"], classes, n=1)
            hint = f" Nearest: {near[0]}." if near else ""
            raise DataError(f"{line.where}: '{line['label']}' is not in jester-v1-labels.csv.{hint}")
        yield line.where, line["id"], number[line["label"]]
