"""``list:FILE``: a clip per line without a header, 'path label' or 'path start end label [label ...]'.

Paths are videos or folders of images, as the lists of MMAction, of the Kinetics tools and of frame-folder loaders have
them. Columns are read from the right, so paths may hold spaces.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from kinelite.config import SplitConfig
from kinelite.data.manifest import Joint, Manifest, Row
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.sets._columns import ROLES, Cells, Separator, cut, find_columns, find_separator
from kinelite.data.sets._frames import LAST_FRAME, frame_part, image_sequence
from kinelite.data.sets._labels import Classes, number_labels, read_classes
from kinelite.data.sets.folder import VIDEO_SUFFIXES
from kinelite.data.split import check_split, check_train, hold_out, refuse_options
from kinelite.data.tables import check_times, inside, number, read_lines, whole
from kinelite.errors import DataError, UsageError

TREE = """\
FILE                    a/clip.mp4 3            path label
                        a/frames 1 48 3         path start end label, images 1 to 48 of a folder
                        a/frames 48 3           folder, number of images, label: format=rawframes
FILE beside it          val.txt beside train.txt, or the one that val=FILE names
videos/  rawframes/     where paths may begin as well; also videos_train/, rawframes_val/ ...
"""
SPLITS = {
    "train": "train", "training": "train", "1": "train",
    "val": "val", "validation": "val", "valid": "val",
    "test": "test", "testing": "test", "2": "test",
}  # fmt: skip
_HOMES = {
    "": ("videos", "rawframes"),
    "train": ("videos", "rawframes", "videos_train", "rawframes_train", "videos/training", "rawframes/training"),
    "val": ("videos", "rawframes", "videos_val", "rawframes_val", "videos/validation", "rawframes/validation"),
    "test": ("videos", "rawframes", "videos_test", "rawframes_test"),
}  # fmt: skip
_SIDE = re.compile(r"(?<![a-z])(train|training|val|valid|validation|test|testing)(?=list|[^a-z]|$)")


@dataclass(frozen=True)
class ListOptions(SetOptions):
    """Options of ``list``. Files and folders start at the working directory."""

    format: str = "auto"
    """auto, labels, parts, rawframes, or the columns joined by '+': path, then start, end, frames, split, skip, and any
    other name for a label. A split is train, val or test, or 1 and 2 for train and test."""
    tasks: str = ""
    """Names of the labels, joined by '+', such as verb+noun."""
    unit: Literal["frames", "s"] = "frames"
    """What start and end count: images by number, both included, or seconds."""
    separator: Separator = "auto"
    """What stands between columns."""
    root: str = ""
    """Folder in which paths begin; the list's own when not given."""
    pattern: str = ""
    """Names of the images in a folder, such as img_%05d.jpg; found in the first folder when not given."""
    val: str = ""
    """List of the clips to validate on."""
    classes: str = ""
    """File of class names, by line or as 'id name', or a CSV file with the column id; one per task, joined by '+'."""
    joint: str = ""
    """Name of what all labels make together, such as action; it is then scored too."""


@register_set(
    "list",
    spec="list:FILE",
    summary="a list: 'path label' or 'path start end label ...'; videos or frame folders",
    options=ListOptions,
    tree=TREE,
)
def load(root: str, split: SplitConfig, options: ListOptions) -> Manifest:
    """Rows in the order of the list. A list called train takes the one called val or test beside it to validate on.

    Classes are numbers that keep their meaning, or names, sorted; ``classes`` names them. Clips that are not there
    are left out and stand in ``absent``; a line that is there twice counts twice, as official lists have such.
    Raises DataError that names the line for what does not fit, UsageError for options that do not.
    """
    check_split(split)
    if not root:
        raise DataError("list: needs a file, such as list:train.txt with a path and a label in each line.")
    file = Path(root).expanduser()
    lists, notes = _lists(file, options)
    cells, columns = _read(lists, options)
    tasks = [name for name in columns if name not in ROLES]
    classes = _classes(cells, tasks, options)
    files = _Files(Path(options.root).expanduser() if options.root else file.parent, options)
    read = [_row(line, tasks, classes, files, options, side) for line, side in cells]
    rows, names = [row for row in read if row], [line.path for (line, _), row in zip(cells, read, strict=True) if row]
    absent = tuple(line.path for (line, _), row in zip(cells, read, strict=True) if row is None)
    if not rows:
        raise DataError(f"None of the {len(read)} clips of {file} is below {files.base}, such as {absent[0]}.")
    notes += files.notes
    notes += [f"Left out: {len(absent)} of {len(read)} clips, because their files are missing."] if absent else []
    notes += _repeated(rows)
    # A list says how it is split even when the files of one side are missing.
    sides = {_side(line, side) for line, side in cells}
    done, note = _divide(file, rows, names, split, sides)
    named = {task: known.names for task, known in zip(tasks, classes, strict=True)}
    if all(known.found for known in classes):
        check_train(done, named)
    joint = Joint(options.joint, named) if options.joint else None
    return Manifest(f"list:{root}", named, done, notes=(note, *notes), absent=absent, joint=joint)


def _lists(file: Path, options: ListOptions) -> tuple[list[tuple[Path, str]], list[str]]:
    """Files with the split of their lines; '' when it is not said."""
    match = _SIDE.search(file.stem.lower())
    side = SPLITS[match[1]] if match else ""
    if options.val:
        return [(file, "train"), (Path(options.val).expanduser(), "val")], []
    if match is None or side != "train":
        return [(file, side)], []
    for word, other in SPLITS.items():
        beside = file.with_name(f"{file.stem[: match.start()]}{word}{file.stem[match.end() :]}{file.suffix}")
        if other != "train" and not word.isdigit() and beside.is_file():
            return [(file, "train"), (beside, other)], [f"{beside.name} beside {file.name} is the {other} split."]
    return [(file, "")], []


def _read(lists: Iterable[tuple[Path, str]], options: ListOptions) -> tuple[list[tuple[Cells, str]], tuple[str, ...]]:
    """The cells of every line with its split, and the columns, which all lists share."""
    tasks = options.tasks.split("+") if options.tasks else []
    wrong = [name for name in tasks if name in (*ROLES, "path", "") or tasks.count(name) > 1]
    if wrong:
        raise UsageError(f"tasks={options.tasks}: '{wrong[0]}' cannot be the name of a label, or is there twice.")
    found: list[tuple[Cells, str]] = []
    columns: tuple[str, ...] = ()
    for file, side in lists:
        lines = list(read_lines(file))
        if not lines:
            raise DataError(f"{file} is empty. Each line should hold a path and a label.")
        mark = find_separator(lines, options.separator)
        columns = columns or find_columns(lines, mark, options.format, tasks)
        found += [(cut(line, mark, columns), side) for line in lines]
    return found, columns


def _classes(cells: Sequence[tuple[Cells, str]], tasks: Sequence[str], options: ListOptions) -> list[Classes]:
    files = options.classes.split("+") if options.classes else []
    if files and len(files) != len(tasks):
        raise UsageError(
            f"classes={options.classes}: {len(files)} files for {len(tasks)} labels; one each, joined by +."
        )
    if files:
        return [read_classes(Path(name).expanduser()) for name in files]
    return [number_labels([(line.where, line.values[task]) for line, _ in cells], task) for task in tasks]


class _Found(NamedTuple):
    path: str
    kind: Literal["video", "folder", "sequence"]


@dataclass
class _Files:
    """What lies below ``base``: each folder that the list names is listed once, no file is asked for its state."""

    base: Path
    options: ListOptions
    notes: list[str] = field(default_factory=list)
    _listed: dict[str, dict[str, bool]] = field(default_factory=dict)
    _videos: dict[str, dict[str, str]] = field(default_factory=dict)
    _pattern: str = ""

    def __post_init__(self) -> None:
        self._pattern = self.options.pattern
        if self._pattern and not _is_pattern(self._pattern):
            raise UsageError(f"pattern={self._pattern}: give a name with one number, such as img_%05d.jpg.")
        if not self.base.is_dir():
            raise DataError(f"There is no folder {self.base}, in which the paths of the list should begin (root=DIR).")

    def find(self, line: Cells, side: str) -> _Found | None:
        """The file, folder or image sequence of a line; a name without suffix is also that of a video.

        Where it is not below the base, the folders are tried that MMAction's lists leave out of their paths.
        """
        name = line.path.rstrip("/") or line.path
        path = os.fspath(inside(self.base, name, line.where, self.options.outside))
        homes = () if os.path.isabs(name) else _HOMES[side]
        elsewhere = (os.fspath(inside(self.base / home, name, line.where, self.options.outside)) for home in homes)
        return self._at(path) or next(filter(None, map(self._at, elsewhere)), None)

    def _at(self, path: str) -> _Found | None:
        parent, last = os.path.split(path)
        listing = self._list(parent)
        if last in listing:
            return _Found(path, "folder" if listing[last] else "video")
        if _is_pattern(last):
            return _Found(path, "sequence") if listing else None
        video = self._videos[parent].get(last)
        return _Found(os.path.join(parent, video), "video") if video else None

    def sequence(self, folder: str) -> str:
        """The images of a folder by number, all folders by the names of the first that has images."""
        if not self._pattern:
            found = image_sequence(folder)
            if found is None:
                return folder
            self._pattern = os.path.basename(found)
            self.notes.append(f"Images are called {self._pattern}, as in {folder}; pattern=NAME says otherwise.")
        return os.path.join(folder, self._pattern)

    def _list(self, folder: str) -> dict[str, bool]:
        if folder not in self._listed:
            try:
                with os.scandir(folder or ".") as entries:
                    self._listed[folder] = {entry.name: entry.is_dir() for entry in entries}
            except OSError:
                self._listed[folder] = {}
            stems = ((os.path.splitext(name), name) for name in sorted(self._listed[folder]))
            self._videos[folder] = {stem: name for (stem, end), name in stems if end.lower() in VIDEO_SUFFIXES}
        return self._listed[folder]


def _is_pattern(name: str) -> bool:
    return len(re.findall(r"%(?:0\d+)?d", name.replace("%%", ""))) == 1


def _row(
    line: Cells, tasks: Sequence[str], classes: Sequence[Classes], files: _Files, options: ListOptions, side: str
) -> Row | None:
    """The row of one line, None when its clip is not there; the line is checked in both cases."""
    labels = tuple(
        known.number(line.where, task, line.values[task]) for task, known in zip(tasks, classes, strict=True)
    )
    part = _part(line, options)
    found = files.find(line, _side(line, side))
    if found is None:
        return None
    path = found.path
    if found.kind == "video":
        if part and options.unit == "frames":
            raise DataError(f"{line.where}: {line.path} is a video, so start and end must be seconds: say unit=s.")
    elif found.kind == "folder" and ((part and options.unit == "frames") or "frames" in line.values or options.pattern):
        path = files.sequence(path)
    start_s, end_s = part or (None, None)
    return Row(path, labels, _side(line, side), start_s, end_s)


def _side(line: Cells, listed: str) -> str:
    """The split that a line names, else that of its list."""
    text = line.values.get("split", "").lower()
    if not text:
        return listed
    if text not in SPLITS:
        raise DataError(f"{line.where}: unknown split '{text[:60]}'. Allowed: {', '.join(SPLITS)}.")
    return SPLITS[text]


def _part(line: Cells, options: ListOptions) -> tuple[float, float] | None:
    """Beginning and end in seconds; None for a whole clip."""
    if "frames" in line.values and whole(line.where, "frames", line.values["frames"], below=LAST_FRAME) < 1:
        raise DataError(f"{line.where}: the clip has 0 frames.")
    if "start" not in line.values:
        return None
    if options.unit == "frames":
        first, last = (whole(line.where, name, line.values[name], below=LAST_FRAME) for name in ("start", "end"))
        return frame_part(line.where, first, last)
    start_s, end_s = (number(line.where, name, line.values[name]) for name in ("start", "end"))
    if start_s < 0:
        raise DataError(
            f"{line.where}: start is {start_s:g} s; give seconds from the beginning of the file, 0 or more."
        )
    check_times(line.where, start_s, end_s)
    return start_s, end_s


def _repeated(rows: Sequence[Row]) -> list[str]:
    """A note that counts repeated clips; DataError for one on two sides of the split."""
    seen: dict[tuple[str, float | None, float | None], str] = {}
    repeated = 0
    for row in rows:
        side = seen.setdefault((os.path.normpath(row.path), row.start_s, row.end_s), row.split)
        if side != row.split:
            raise DataError(f"The same clip is in {side} and in {row.split}: {row.path} from {row.start_s} s.")
        repeated += 1
    repeated -= len(seen)
    return [f"{repeated} lines name a clip that an earlier line names; they count."] if repeated else []


def _divide(
    file: Path, rows: Sequence[Row], names: Sequence[str], split: SplitConfig, sides: set[str]
) -> tuple[tuple[Row, ...], str]:
    """Rows with their splits, held out as ``split`` says when the lists name none but train, and a sentence on it."""
    if sides <= {"", "train"}:
        return hold_out(rows, names, split)
    refuse_options(split, f"{file} comes with its split")
    counts = Counter(row.split for row in rows)
    return tuple(rows), "Split by list: " + ", ".join(f"{side} {n} clips" for side, n in counts.items()) + "."
