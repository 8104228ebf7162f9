"""``ucf101:ROOT``: 101 actions in 13,320 clips from YouTube, with the three official splits (arXiv 1212.0402)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.sets._lookup import Entry, VideoIndex, listed_set, root_folder
from kinelite.data.split import refuse_options
from kinelite.data.tables import find_file, read_lines, whole
from kinelite.errors import DataError

TREE = """\
ROOT/ucfTrainTestlist/classInd.txt
ROOT/ucfTrainTestlist/trainlist01.txt  testlist01.txt  (and 02, 03)
ROOT/UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi"""
_LISTS = ("ucfTrainTestlist", "annotations", ".", "*")
_VIDEOS = ("UCF-101", "UCF101", "videos", "")
# The lists, the class list and the copies that go around do not agree on this one class.
_SPELLINGS = ("HandStand", "Handstand")
_GROUP = re.compile(r"_(g\d\d)_c\d\d")


@dataclass(frozen=True)
class Ucf101Options(SetOptions):
    """Options of ``ucf101``."""

    split: Literal[1, 2, 3] = 1
    """Which of the three official splits."""


@register_set(
    "ucf101",
    spec="ucf101:ROOT",
    summary="UCF101, official splits: ucf101:ROOT,split=2",
    options=Ucf101Options,
    tree=TREE,
    licence="University of Central Florida (CRCV): for research; the YouTube clips belong to their owners.",
    source="Soomro, Zamir, Shah: UCF101 (arXiv 1212.0402), https://www.crcv.ucf.edu/data/UCF101.php",
    published={
        **{"classes": 101, "train": 9537, "test": 3783},
        **{"classes split=2": 101, "train split=2": 9586, "test split=2": 3734},
        **{"classes split=3": 101, "train split=3": 9624, "test split=3": 3696},
    },
)
def load(root: str, split: SplitConfig, options: Ucf101Options) -> Manifest:
    """Clips of one official split, its test list as 'test'. Classes have the order of classInd.txt.

    A clip's group is its class and the number after 'g': clips of one group come from one video, and the official
    splits keep them together. Files may have been converted to another suffix. Raises DataError for lists that are
    missing, malformed or contradict one another, and when none of their clips is there.
    """
    refuse_options(split, "ucf101 brings its own splits (ucf101:ROOT,split=2)")
    top = root_folder("ucf101", root)
    classes = _classes(find_file(top, *(f"{folder}/classInd.txt" for folder in _LISTS), what="list of classes"))
    index = VideoIndex(top)
    entries: list[Entry] = []
    absent: list[str] = []
    for side in ("train", "test"):
        names = [f"{folder}/{side}list{options.split:02d}.txt" for folder in _LISTS]
        for where, name, label in _clips(find_file(top, *names, what=f"{side} list"), classes):
            found = (index.look_up(_VIDEOS, other, where, options.outside) for other in _spellings(name))
            path = next(filter(None, found), None)
            match = _GROUP.search(name)
            group = f"{classes[label]} {match[1]}" if match else ""
            if path:
                entries.append(Entry(where, path, label, side, group=group))
            else:
                absent.append(f"{top}/{_VIDEOS[0]}/{name}")
    return listed_set("ucf101", {"label": classes}, entries, absent, top=top, tree=TREE)


def _spellings(name: str) -> Iterator[str]:
    """``name``, and for the class that is spelt in two ways the others of its folder and of its file."""
    yield name
    folder, _, clip = name.rpartition("/")
    for parts in product(_SPELLINGS, repeat=2) if "handstandp" in name.lower() else ():
        yield "/".join(re.sub("Hand[Ss]tand", word, part) for word, part in zip(parts, (folder, clip), strict=True))


def _classes(file: Path) -> tuple[str, ...]:
    """Names in the order of their numbers, which start at 1."""
    names: dict[int, str] = {}
    for where, text in read_lines(file):
        number, _, name = text.partition(" ")
        index = whole(where, "class number", number)
        if not name.strip() or index in names or name.strip() in names.values():
            raise DataError(f"{where}: '{text}'; expected 'NUMBER NAME', each number and name once.")
        names[index] = name.strip()
    if not names or sorted(names) != list(range(1, len(names) + 1)):
        raise DataError(f"{file}: {len(names)} classes must be numbered 1 to {len(names)} without a gap.")
    return tuple(names[index] for index in sorted(names))


def _clips(file: Path, classes: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    """(where, 'Class/clip.avi', class index) of each line; the number of train lists must agree with the folder."""
    number = {name.replace(*_SPELLINGS): index for index, name in enumerate(classes)}
    for where, text in read_lines(file):
        match = re.fullmatch(r"(?P<name>.*\.\w+)(?:\s+(?P<label>\S+))?", text)
        name = match["name"].replace("\\", "/") if match else text
        folder, slash, _ = name.rpartition("/")
        label = number.get(folder.rpartition("/")[2].replace(*_SPELLINGS))
        if not match or not slash or label is None:
            raise DataError(f"{where}: '{text}'; expected 'CLASS/clip.avi' with a class of classInd.txt.")
        if match["label"] is not None and whole(where, "class number", match["label"]) != label + 1:
            raise DataError(
                f"{where}: class number {match['label']}, but classInd.txt says {label + 1} for {classes[label]}."
            )
        yield where, name, label
