"""``kinetics400:ROOT``, ``kinetics600:ROOT``, ``kinetics700:ROOT``: ten-second clips of human actions from YouTube.

Read are the owner's CSV files (label, youtube_id, time_start, time_end, split) and lists 'path label' of common tools.
Videos vanish from YouTube, so clips that are not there are counted and left out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.sets._classmap import PATTERNS, ClassList, clean, find_class_list, once
from kinelite.data.sets._kinetics import SIDE, SPLITS, Found, choose, from_lists, is_list
from kinelite.data.sets._lookup import Entry, VideoIndex, listed_set, root_folder
from kinelite.data.split import refuse_options
from kinelite.data.tables import Line, check_times, number, read_table
from kinelite.errors import DataError, UsageError, neighbours

TREE = """\
ROOT/train.csv  val.csv (or validate.csv)  test.csv  (also in ROOT/annotations/, also kinetics400_train.csv)
  or lists of 'path label': ROOT/train.txt  val.txt
ROOT/label_map_k400.txt  (or classids.json, labels_to_id.csv, kinetics_400_labels.csv; needed for a part of the classes)
ROOT/train/riding a bike/ID_000010_000020.mp4  (or riding_a_bike/, or flat: ROOT/train/ID..., or ID.mp4)"""
LICENCE = "Google (DeepMind): annotations under Creative Commons Attribution 4.0; the videos belong to their uploaders."


@dataclass(frozen=True)
class KineticsOptions(SetOptions):
    """Options of the Kinetics sets."""

    strip_prefix: str = ""
    """Beginning of the paths in list files that stands for the root."""
    untrimmed: bool = False
    """Files called ID.mp4 are whole videos, of which the CSV's times name the clip; otherwise they are clips."""


def _register(classes: int, train: int, val: int, source: str) -> None:
    name = f"kinetics{classes}"

    @register_set(
        name,
        spec=f"{name}:ROOT",
        summary=f"Kinetics-{classes}: official CSV or list files, class folders or flat",
        options=KineticsOptions,
        tree=TREE.replace("400", str(classes)),
        licence=LICENCE,
        source=source,
        published={"classes": classes, "train": train, "val": val},
    )
    def load(root: str, split: SplitConfig, options: KineticsOptions) -> Manifest:
        return load_kinetics(name, classes, root, split, options)


_register(400, 246_534, 19_906, "Kay et al.: The Kinetics Human Action Video Dataset (arXiv 1705.06950)")
_register(600, 392_622, 30_000, "Carreira et al.: A Short Note about Kinetics-600 (arXiv 1808.01340)")
_register(
    700, 545_317, 35_000, "Carreira et al.: A Short Note on the Kinetics-700 Human Action Dataset (arXiv 1907.06987)"
)


def load_kinetics(name: str, classes: int, root: str, split: SplitConfig, options: KineticsOptions) -> Manifest:
    """Clips that the CSV files, or failing these the list files, of a root name and whose file is there.

    Classes are those of a class list in the root, else all labels sorted by name, which are the official numbers when
    all classes are there. Raises DataError for lists that are missing or malformed and when none of the clips is there,
    UsageError for a prefix that no path has.
    """
    refuse_options(split, f"{name} brings its own split")
    top = root_folder(name, root)
    tables, lists, notes = _annotations(top)
    known = find_class_list(_folders(top), classes)
    index = VideoIndex(top)
    _check_options(options, tables, lists)
    if tables:
        labels, found = _from_tables(tables, known, index, options)
    elif lists:
        labels, found = from_lists(lists, known, index, options.strip_prefix, options.outside)
    else:
        said = " ".join([f"{top} holds no CSV and no list files of videos.", *notes, neighbours(top / "train.csv")])
        raise DataError(f"{said} Expected:\n{TREE.replace('400', str(classes))}")
    notes += _about_classes(labels, classes, found.entries)
    return listed_set(
        name,
        {"label": labels.names},
        found.entries,
        found.absent,
        top=top,
        tree=TREE.replace("400", str(classes)),
        notes=[*notes, *found.notes],
        refuse=False,
    )


def _check_options(options: KineticsOptions, tables: dict[Path, str], lists: dict[Path, str]) -> None:
    """Raises UsageError for an option that what is read does not take."""
    if tables and options.strip_prefix:
        raise UsageError(f"strip_prefix is for list files, and {next(iter(tables))} is read. Leave it out.")
    if lists and not tables and options.untrimmed:
        raise UsageError(f"untrimmed is for CSV files with times, and {next(iter(lists))} is read. Leave it out.")


def _folders(top: Path) -> list[Path]:
    """Where annotations lie: the root, annotations/, and what the owner's archives unpack to (kinetics700_2020/)."""
    return [top, top / "annotations", *sorted(path for path in top.glob("kinetics*") if path.is_dir())]


def _annotations(top: Path) -> tuple[dict[Path, str], dict[Path, str], list[str]]:
    """CSV files with a header, list files (each with its split), and a note on what is not read."""
    tables: dict[Path, str] = {}
    lists: dict[Path, str] = {}
    spare: list[str] = []
    folders: list[Path] = []
    files = [file for folder in _folders(top) for end in ("csv", "txt") for file in sorted(folder.glob(f"*.{end}"))]
    for file in sorted(files, key=lambda file: (len(file.parts), len(file.name))):
        match = SIDE.search(file.stem.lower())
        if match is None or not file.is_file():
            continue
        if "rawframes" in file.stem:
            folders.append(file)
            continue
        kind = lists if is_list(file) else tables
        side = SPLITS[match[1]]
        if side in kind.values():
            spare.append(file.name)
        else:
            kind[file] = side
    if tables:
        spare += [file.name for file in lists]
    notes = [f"Not read, because other lists come first: {', '.join(spare[:5])}."] if spare else []
    if folders:
        file = next((file for file in folders if "train" in file.stem), folders[0])
        notes.append(f"Not read, because it names folders of images: {file.name}. Use list:{file},format=rawframes.")
    return tables, lists, notes


def _from_tables(
    tables: dict[Path, str], known: ClassList | None, index: VideoIndex, options: KineticsOptions
) -> tuple[ClassList, Found]:
    """Clips of the owner's CSV files. The column 'split' decides where there is one, else the name of the file."""
    found = Found()
    lines: list[tuple[Line, str]] = []
    for file, side in tables.items():
        read = read_table(file, needed=("youtube_id", "time_start", "time_end"))
        if side == "test" and not any(line.get("label") for line in read):
            found.notes.append(f"Left out: {len(read)} lines of {file.name}, which has no labels.")
            continue
        if read and "label" not in read[0]:
            raise DataError(f"{file} has no column 'label'. Its columns: {', '.join(read[0])}.")
        lines += [(line, _split(line, side)) for line in read]
    named = {clean(line["label"]) for line, _ in lines if line.get("label")}
    labels = known or ClassList(once(named), "the CSV files")
    elsewhere: list[str] = []
    for line, side in lines:
        stems, start_s, end_s = _clip(line)
        label = labels.need(line.where, line.get("label", ""))
        name, place = choose(index, (*stems, line["youtube_id"]), labels, label, side)
        if name is None:
            found.absent.append(f"{index.top}/{side}/{labels.names[label]}/{stems[0]}.mp4")
            continue
        whole_video = options.untrimmed and not os.path.basename(name).startswith(stems)
        times = (start_s, end_s) if whole_video else (None, None)
        found.entries.append(Entry(line.where, index.path(name), label, side, *times))
        if place == "other":
            elsewhere.append(name)
    if elsewhere:
        found.notes.append(
            f"{len(elsewhere)} clips lie in the folder of another class than the CSV says, such as {elsewhere[0]}; "
            "the CSV counts."
        )
    return labels, found


def _split(line: Line, side: str) -> str:
    given = line.get("split", "").lower()
    if given and given not in SPLITS:
        raise DataError(f"{line.where}: unknown split '{given}'. Allowed: {', '.join(SPLITS)}.")
    return SPLITS[given] if given else side


def _clip(line: Line) -> tuple[tuple[str, str], float, float]:
    """Names that the clip's file may have, without suffix, and its times in the YouTube video."""
    video = line["youtube_id"]
    if not video or video in (".", "..") or set(video) & set("/\\\0"):
        raise DataError(f"{line.where}: '{video}' is not the id of a YouTube video.")
    start_s, end_s = (_time(line, name) for name in ("time_start", "time_end"))
    check_times(line.where, start_s, end_s)
    start, end = int(start_s), int(end_s)
    return (f"{video}_{start:06d}_{end:06d}", f"{video}_{start}_{end}"), start_s, end_s


def _time(line: Line, name: str) -> float:
    value = number(line.where, name, line[name])
    if value < 0:
        raise DataError(f"{line.where}: {name} is {line[name]}; give seconds from the beginning of the video.")
    return value


def _about_classes(labels: ClassList, classes: int, entries: Sequence[Entry]) -> list[str]:
    """Notes on classes that are missing, on numbers that are not the official ones, and on classes without a clip."""
    notes = []
    if len(labels.names) != classes:
        notes.append(
            f"{len(labels.names)} of {classes} classes, from {labels.origin}: their numbers are not the official ones. "
            f"A class list in the root gives those: {' or '.join(PATTERNS[:5])}."
        )
    elif list(labels.names) != sorted(labels.names):
        notes.append(f"The classes of {labels.origin} are not in alphabetical order, as the official numbers are.")
    counts = Counter(entry.label for entry in entries if entry.split == "train")
    empty = [name for number, name in enumerate(labels.names) if not counts[number]]
    if counts and empty:
        notes.append(f"{len(empty)} classes have no clip to train on, such as '{empty[0]}'.")
    return notes
