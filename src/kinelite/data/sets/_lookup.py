"""What sets with lists of file names share: which videos lie below a root, and entries of the lists made into rows.

A root is scanned once, folder by folder; no file is opened or asked for its state, so 240,000 clips take seconds.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kinelite.data.manifest import Manifest, Row
from kinelite.data.sets.folder import VIDEO_SUFFIXES
from kinelite.data.tables import inside
from kinelite.errors import DataError, neighbours

_SPLIT_ORDER = {"train": 0, "val": 1, "test": 2}


class Entry(NamedTuple):
    """A clip that a list names and that is there."""

    where: str
    """File and line of the list, for messages."""
    path: str
    label: int
    split: str
    start_s: float | None = None
    end_s: float | None = None
    group: str = ""


class VideoIndex:
    """Video files below ``top`` by place and by name. Hidden files and folders are left out, links are followed.

    Raises DataError for a folder that cannot be listed.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self._places: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        for name in files_below(top):
            place, suffix = _cut(name)
            if suffix:
                self._places.setdefault(place, []).append(name)
                self._stems.setdefault(place.rpartition("/")[2], []).append(name)

    def __len__(self) -> int:
        """Number of videos."""
        return sum(map(len, self._places.values()))

    def at(self, name: str) -> str | None:
        """The video at the place ``name`` (below the root, '/' between folders); any video suffix will do.

        Lists keep the suffix of the download and people convert, so 'a/b.avi' is found as 'a/b.mp4'.
        """
        place, _ = _cut(os.path.normpath(name).replace(os.sep, "/"))
        found = self._places.get(place, ())
        return name if name in found else next(iter(found), None)

    def first(self, bases: Sequence[str], name: str) -> str | None:
        """`at` for the first of the folders ``bases`` that has it; '' is the root."""
        return next((found for base in bases if (found := self.at(f"{base}/{name}" if base else name))), None)

    def look_up(self, bases: Sequence[str], name: str, where: str, outside: bool = False) -> str | None:
        """Path of the video that a list calls ``name``, below the first of ``bases`` that has it; None if none has.

        Raises DataError for a name that leads out of the root, unless ``outside``.
        """
        there = inside(self.top, name, where, outside)
        found = self.first(bases, name)
        if found is None:
            return str(there) if outside and there.is_file() else None
        return self.path(found)

    def named(self, stem: str) -> Sequence[str]:
        """All videos of this name without suffix, wherever they lie, sorted."""
        return self._stems.get(stem, ())

    def path(self, name: str) -> str:
        """``name`` below the root as a path to open."""
        return os.path.join(self.top, name)


def _cut(name: str) -> tuple[str, str]:
    """A name without its video suffix, and the suffix ('' when it is not that of a video)."""
    place, dot, suffix = name.rpartition(".")
    return (place, suffix) if dot and f".{suffix.lower()}" in VIDEO_SUFFIXES else (name, "")


def files_below(top: Path) -> Iterator[str]:
    """Names of all files below ``top``, '/' between folders, sorted within each folder."""
    yield from _walk(os.fspath(top), "", ())


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    try:
        state = os.stat(folder)
        # A link to a folder above would be walked for ever.
        if (here := (state.st_dev, state.st_ino)) in above:
            return
        with os.scandir(folder) as found:
            entries = sorted((item.name, item.is_dir()) for item in found if not item.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}.") from error
    for name, is_folder in entries:
        if is_folder:
            yield from _walk(os.path.join(folder, name), f"{prefix}{name}/", (*above, here))
        else:
            yield prefix + name


def root_folder(name: str, root: str) -> Path:
    """The root of the set ``name``. Raises DataError when it is not given, missing, a file or empty."""
    top = Path(root).expanduser() if root else Path()
    if not root:
        raise DataError(f"{name}: needs a root, such as {name}:/data/{name}. What it should hold: kinelite info {name}")
    if top.is_file():
        raise DataError(f"{root} is a file; {name}:ROOT takes a folder. What it should hold: kinelite info {name}")
    if not top.is_dir():
        raise DataError(f"There is no folder {root}. {neighbours(top)}")
    return top


def settle(entries: Iterable[Entry], refuse: bool) -> tuple[list[Entry], list[str]]:
    """Entries without repeated ones, sorted by split and path, and notes that name what was left out.

    The same clip twice with one label and split counts once. With two labels or splits it cannot be used: DataError
    that names both lines when ``refuse``, otherwise it is left out.
    """
    first: dict[tuple[str, float | None, float | None], Entry] = {}
    repeated: list[str] = []
    torn: dict[tuple[str, float | None, float | None], str] = {}
    for entry in entries:
        key = (entry.path, entry.start_s, entry.end_s)
        known = first.setdefault(key, entry)
        if known is entry:
            continue
        text = f"{entry.where}: the same clip as in {known.where} ({os.path.basename(entry.path)})"
        if (known.label, known.split) == (entry.label, entry.split):
            repeated.append(text)
        elif refuse:
            raise DataError(f"{text}, with another label or split.")
        else:
            torn.setdefault(key, text)
    kept = [entry for key, entry in first.items() if key not in torn]
    kept.sort(key=lambda entry: (_SPLIT_ORDER[entry.split], entry.path, entry.start_s or 0.0))
    notes = [f"Counted once: {len(repeated)} repeated lines, such as {repeated[0]}."] if repeated else []
    if torn:
        example = next(iter(torn.values()))
        notes.append(f"Left out: {len(torn)} clips that have two labels or splits, such as {example}.")
    return kept, notes


def listed_set(
    name: str,
    tasks: Mapping[str, tuple[str, ...]],
    entries: Iterable[Entry],
    absent: Iterable[str],
    *,
    top: Path,
    tree: str,
    notes: Sequence[str] = (),
    refuse: bool = True,
    policy: str = "lightweight_kinetics",
) -> Manifest:
    """The manifest of a set whose lists name its clips. ``absent``: clips whose file is not there.

    Raises DataError when not one clip is there, with the tree that is expected, and for contradicting lines when
    ``refuse``.
    """
    for task, names in tasks.items():
        if len(names) < 2:
            raise DataError(f"{top}: only one class ('{''.join(names)}') in '{task}': nothing is to be told apart.")
    missing = tuple(dict.fromkeys(absent))
    kept, found = settle(entries, refuse)
    said = [*notes, *found]
    if missing:
        said.append(f"Missing: {len(missing)} of {len(missing) + len(kept)} clips that the lists name are not there.")
    if not kept:
        example = f" ({missing[0]}, for example)" if missing else ""
        reason = f"None of the {len(missing)} clips that its lists name is there{example}." if missing else ""
        raise DataError(" ".join([f"{top} holds no clip of '{name}'.", reason, *notes, *found, f"Expected:\n{tree}"]))
    rows = tuple(
        Row(entry.path, (entry.label,), entry.split, entry.start_s, entry.end_s, entry.group) for entry in kept
    )
    counts = Counter(row.split for row in rows)
    said.insert(0, "Split by the set's lists: " + ", ".join(f"{side} {counts[side]}" for side in counts) + " clips.")
    return Manifest(f"{name}:{top}", tasks, rows, policy=policy, notes=tuple(said), absent=missing)
