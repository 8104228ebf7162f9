"""``hmdb51:ROOT``: 51 actions in 6,766 clips from films and the web, with the three official splits (ICCV 2011)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.sets._lookup import Entry, VideoIndex, listed_set, root_folder
from kinelite.data.split import refuse_options
from kinelite.data.tables import inside, read_lines
from kinelite.errors import DataError

TREE = """\
ROOT/testTrainMulti_7030_splits/brush_hair_test_split1.txt  (51 classes, splits 1 to 3)
ROOT/hmdb51_org/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi  (or ROOT/videos/brush_hair/, ROOT/brush_hair/)"""
_LISTS = ("testTrainMulti_7030_splits", "test_train_splits/testTrainMulti_7030_splits", "annotations", "splits", ".")
_VIDEOS = ("hmdb51_org", "videos", "hmdb51", "")
_SIDES = {"1": "train", "2": "test", "0": ""}


@dataclass(frozen=True)
class Hmdb51Options(SetOptions):
    """Options of ``hmdb51``."""

    split: Literal[1, 2, 3] = 1
    """Which of the three official splits."""


@register_set(
    "hmdb51",
    spec="hmdb51:ROOT",
    summary="HMDB51, official splits: hmdb51:ROOT,split=2",
    options=Hmdb51Options,
    tree=TREE,
    licence="Serre Lab, Brown University: Creative Commons Attribution 4.0; the films belong to their owners.",
    source="Kuehne et al.: HMDB, a large video database for human motion recognition (ICCV 2011)",
    published={
        **{"classes": 51, "train": 3570, "test": 1530},
        **{"classes split=2": 51, "train split=2": 3570, "test split=2": 1530},
        **{"classes split=3": 51, "train split=3": 3570, "test split=3": 1530},
    },
)
def load(root: str, split: SplitConfig, options: Hmdb51Options) -> Manifest:
    """Clips of one official split, 70 per class to train on and 30 as 'test'; the others (marked 0) belong to none.

    Classes are the names of the lists, sorted. Files may have been converted to another suffix. Raises DataError for
    lists that are missing, malformed or contradict one another, and when none of their clips is there.
    """
    refuse_options(split, "hmdb51 brings its own splits (hmdb51:ROOT,split=2)")
    top = root_folder("hmdb51", root)
    lists = _lists(top, f"_test_split{options.split}.txt")
    classes = tuple(sorted(lists))
    index = VideoIndex(top)
    entries: list[Entry] = []
    absent: list[str] = []
    unused = 0
    for label, name in enumerate(classes):
        for where, clip, side in _clips(lists[name]):
            unused += not side
            if not side:
                continue
            # A bare name: a '..' must not lead out of the folder of the class.
            inside(top, clip, where, options.outside)
            if path := index.look_up(_VIDEOS, f"{name}/{clip}", where, options.outside):
                entries.append(Entry(where, path, label, side))
            else:
                absent.append(f"{top}/{_VIDEOS[0]}/{name}/{clip}")
    notes = [f"Not in split {options.split}: {unused} clips that its lists mark with 0."] if unused else []
    return listed_set("hmdb51", {"label": classes}, entries, absent, top=top, tree=TREE, notes=notes)


def _lists(top: Path, ending: str) -> dict[str, Path]:
    """Class name -> list of its clips."""
    for folder in _LISTS:
        found = {file.name.removesuffix(ending): file for file in sorted((top / folder).glob(f"?*{ending}"))}
        if found:
            return found
    places = " or ".join(f"{folder}/CLASS{ending}" for folder in _LISTS[:3])
    raise DataError(f"{top} holds no lists of clips: {places}. Expected:\n{TREE}")


def _clips(file: Path) -> Iterator[tuple[str, str, str]]:
    """(where, 'clip.avi', 'train', 'test' or '') of each line."""
    for where, text in read_lines(file):
        name, _, mark = (part.strip() for part in text.replace("\t", " ").rpartition(" "))
        if not name or mark not in _SIDES:
            raise DataError(f"{where}: '{text}'; expected 'clip.avi MARK' with 1 (train), 2 (test) or 0 (neither).")
        yield where, name, _SIDES[mark]
