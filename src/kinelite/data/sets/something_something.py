"""``ssv2:ROOT``: Something-Something V2, 174 templates of what hands do with things (Goyal et al. 2017).

Lists are those of the owner's download, with or without the prefix 'something-something-v2-'. Labels come from the
template of an entry, brackets removed, through labels.json.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest, Row
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.sets._lookup import root_folder
from kinelite.data.sets.folder import VIDEO_SUFFIXES
from kinelite.data.split import refuse_options
from kinelite.data.tables import find_file, read_json, read_table
from kinelite.errors import DataError

LICENCE = "Free for research (Something-Something licence, Qualcomm); clips may not be passed on."
VIDEOS = """\
ROOT/20bn-something-something-v2/ID.webm    or ROOT/videos/ID.webm, ROOT/videos/20bn-something-something-v2/ID.webm,
                                            or images of a clip: ROOT/frames/ID/*.jpg, ROOT/videos/ID/*.jpg
"""
TREE = f"""\
ROOT/labels/labels.json                     or ROOT/labels.json, ROOT/something-something-v2-labels.json
ROOT/labels/train.json, validation.json     beside it, with the same prefix
ROOT/labels/test-answers.csv                labels of the test split, when at hand
{VIDEOS}"""
_CLIP_FOLDERS = ("20bn-something-something-v2", "videos/20bn-something-something-v2", "videos", "frames", "rawframes")
_PLACES = ("", "labels/", "annotations/")


class Entry(NamedTuple):
    """A clip that a list names."""

    key: str
    """The owner's id, which is the file's name without its suffix."""
    label: int
    split: str
    where: str
    """File and entry, for messages."""


@register_set(
    "ssv2",
    spec="ssv2:ROOT",
    summary="Something-Something V2, 174 classes, official lists",
    tree=TREE,
    licence=LICENCE,
    source="Goyal et al., The 'something something' video database, ICCV 2017, arXiv 1706.04261",
    published={"classes": 174, "train": 168_913, "val": 24_777, "test": 27_157},
)
def load(root: str, split: SplitConfig, options: SetOptions) -> Manifest:
    """Clips of train and validation, and of test where its answers are at hand, in the order of the lists.

    A clip whose file is missing is left out and stands in ``absent``. Nothing is mirrored: left and right are labels.
    Raises DataError for lists that are missing or damaged and when not one clip is there, UsageError for split options.
    """
    top = root_folder("ssv2", root)
    refuse_options(split, "Something-Something V2 brings its own split")
    classes = read_classes(find_file(top, *_names("labels.json"), what="list of classes"))
    notes: list[str] = []
    entries: list[Entry] = []
    for name, side in (("train.json", "train"), ("validation.json", "val")):
        file = first_file(top, _names(name))
        entries += read_entries(file, classes, side) if file else []
        notes += [] if file else [f"{name} is not there, so the set has no {side} split."]
    answers, test = first_file(top, _names("test-answers.csv")), first_file(top, _names("test.json"))
    if answers:
        entries += _read_answers(answers, classes)
    elif test:
        notes.append(f"{test.name} is left out: the owner's test list has no labels.")
    if not entries:
        find_file(top, *_names("train.json"), what="list of clips")
    return assemble(f"ssv2:{root}", top, classes, entries, notes, TREE)


def assemble(
    name: str, top: Path, classes: tuple[str, ...], entries: Sequence[Entry], notes: Sequence[str], tree: str
) -> Manifest:
    """The manifest of ``entries`` over the clips below ``top``; what is not there goes to ``absent``.

    Raises DataError with the expected ``tree`` when nothing is there.
    """
    check_entries(entries)
    there = index_clips(top / folder for folder in _CLIP_FOLDERS)
    rows = tuple(Row(there[key], (label,), side) for key, label, side, _ in entries if key in there)
    absent = tuple(f"{key}.webm" for key, *_ in entries if key not in there)
    if not rows:
        raise DataError(f"None of the {len(entries)} clips that the lists name is below {top}. Expected:\n{tree}")
    counts = Counter(row.split for row in rows)
    said = [f"Split by the owner's lists: {', '.join(f'{side} {n} clips' for side, n in counts.items())}."]
    if absent:
        said.append(f"Left out: {len(absent)} of {len(entries)} clips, because their files are missing.")
    # Left and right are part of the labels: the policy without mirroring.
    return Manifest(name, {"label": classes}, rows, "lightweight_ssv2", (*said, *notes), absent)


def index_clips(folders: Iterable[Path]) -> dict[str, str]:
    """Clip id -> video file, or folder of images, by listing each folder once. The first folder wins, and videos do.

    Raises DataError for a folder that cannot be listed.
    """
    videos: dict[str, str] = {}
    images: dict[str, str] = {}
    for folder in filter(Path.is_dir, folders):
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{folder} cannot be listed: {error.strerror}.") from error
        for entry in entries:
            key, suffix = os.path.splitext(entry.name)
            if suffix.lower() in VIDEO_SUFFIXES:
                videos.setdefault(key, entry.path)
            elif entry.is_dir():
                images.setdefault(entry.name, entry.path)
    return images | videos


def first_file(top: Path, names: Iterable[str]) -> Path | None:
    """The first of ``names`` that is a file below ``top``."""
    return next((top / name for name in names if (top / name).is_file()), None)


def read_classes(file: Path) -> tuple[str, ...]:
    """Class names in the order of their ids from a JSON object {name: id}, with ids 0, 1, 2, ... as numbers or text.

    Raises DataError that names what does not fit.
    """
    table = read_json(file)
    if not isinstance(table, dict) or not table:
        raise DataError(f'{file}: should be one object of class names and ids, such as {{"Closing something": "0"}}.')
    by_id: dict[int, str] = {}
    for name, text in table.items():
        number = int(text) if str(text).isascii() and str(text).isdigit() and len(str(text)) < 10 else -1
        if not 0 <= number < len(table) or isinstance(text, bool) or number in by_id:
            raise DataError(
                f"{file}: the id of {name!r} is {text!r}; each of the {len(table)} classes needs its own, "
                f"from 0 to {len(table) - 1}."
            )
        by_id[number] = plain_template(name)
    names = tuple(by_id[number] for number in range(len(by_id)))
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"{file}: the class {name!r} is there {count} times.")
    return names


def plain_template(text: str) -> str:
    """A template without the brackets around its placeholders."""
    return text.replace("[", "").replace("]", "").strip()


def read_entries(file: Path, classes: Sequence[str], side: str) -> list[Entry]:
    """Entries of a JSON list of {"id", "template"}. Raises DataError that names the entry, counted from 1."""
    listed = read_json(file)
    if not isinstance(listed, list):
        raise DataError(
            f'{file}: should be a list of clips, such as [{{"id": "1", "template": "Closing [something]"}}].'
        )
    number = {name: k for k, name in enumerate(classes)}
    return [_entry(f"{file}, entry {i}", value, number, side) for i, value in enumerate(listed, start=1)]


def _entry(where: str, value: Any, number: Mapping[str, int], side: str) -> Entry:
    if not isinstance(value, dict):
        raise DataError(f"{where}: should be an object with 'id' and 'template', not {type(value).__name__}.")
    key, template = value.get("id"), value.get("template")
    if not isinstance(template, str):
        raise DataError(f"{where}: has no 'template'. Its fields: {', '.join(map(str, value)) or 'none'}.")
    return Entry(clip_id(where, key), _class(where, plain_template(template), number), side, where)


def clip_id(where: str, key: Any) -> str:
    """The id as text. Raises DataError for what cannot be the name of one file."""
    text = str(key) if isinstance(key, (str, int)) and not isinstance(key, bool) else ""
    if not text.isprintable() or text in ("", ".", "..") or "/" in text or "\\" in text:
        raise DataError(f"{where}: {key!r} is not the id of a clip.")
    return text


def _class(where: str, name: str, number: Mapping[str, int]) -> int:
    if name not in number:
        near = difflib.get_close_matches(name, number, n=1)
        hint = f" Nearest: '{near[0]}'." if near else ""
        raise DataError(f"{where}: {name!r} is none of the {len(number)} classes.{hint}")
    return number[name]


def check_entries(entries: Iterable[Entry]) -> None:
    """Raises DataError for a clip that is listed twice, in one split or in two."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        other = seen.setdefault(entry.key, entry)
        if other is not entry:
            raise DataError(f"{entry.where}: the clip {entry.key!r} is in {other.where} as well.")


def _read_answers(file: Path, classes: Sequence[str]) -> list[Entry]:
    number = {name: k for k, name in enumerate(classes)}
    lines = read_table(file, delimiter=";", header=("id", "template"))
    return [_entry(line.where, line, number, "test") for line in lines]


def _names(name: str) -> list[str]:
    return [f"{place}{prefix}{name}" for place in _PLACES for prefix in ("", "something-something-v2-")]
