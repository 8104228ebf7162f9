"""``folder:ROOT``: a folder per class, ROOT/class/clip, or ROOT/{train,val,test}/class/clip.

A clip is a video file, or a folder of numbered images below the folder of its class.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest, Row
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.sets._frames import is_image, is_numbered
from kinelite.data.split import check_split, check_train, hold_out, refuse_options
from kinelite.errors import DataError, neighbours

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".flv", ".m2ts", ".m4v", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
SPLIT_FOLDERS = {
    "train": "train", "training": "train",
    "val": "val", "validation": "val", "valid": "val",
    "test": "test", "testing": "test",
}
# fmt: on


@dataclass(frozen=True)
class _Found:
    """A clip on disk, before classes are numbered."""

    path: Path
    label: str
    split: str


@register_set("folder", spec="folder:ROOT", summary="your clips: ROOT/class/clip or ROOT/{train,val,test}/class/clip")
def load(root: str, split: SplitConfig, options: SetOptions) -> Manifest:
    """Clips at any depth below their class folder; hidden files and files that are no clips are left out.

    Where there is no val and no test folder, clips are held out as ``split`` says. Raises DataError for a root
    that is missing, empty, a file, without clips, or of one class, and for a class without a clip to train on.
    """
    top = _root(root)
    check_split(split)
    notes: list[str] = []
    other: Counter[str] = Counter()
    layout, ignored = _layout(top)
    if layout:
        found = [clip for folder, side in layout.items() for clip in _classes(folder, side, other, notes)]
        notes += [f"Left out: {name}/ beside the split folders." for name in ignored]
    else:
        found = list(_classes(top, "", other, notes))
    if not found:
        raise DataError(_nothing(top, other))
    if other:
        notes.append(f"Left out: {other.total()} files that are not video ({_kinds(other)}).")
    classes = tuple(sorted({clip.label for clip in found}))
    number = {name: k for k, name in enumerate(classes)}
    rows = tuple(Row(str(clip.path), (number[clip.label],), clip.split) for clip in found)
    if {row.split for row in rows} <= {"", "train"}:
        rows, note = hold_out(rows, [clip.path.relative_to(top).as_posix() for clip in found], split)
        notes.append(note)
    else:
        refuse_options(split, f"{root} has split folders")
        counts = Counter(row.split for row in rows)
        notes.append("Split by folder: " + ", ".join(f"{side} {counts[side]} clips" for side in sorted(counts)) + ".")
    tasks = {"label": classes}
    check_train(rows, tasks)
    return Manifest(f"folder:{root}", tasks, rows, notes=tuple(notes))


def _root(root: str) -> Path:
    top = Path(root).expanduser()
    if not root:
        raise DataError("folder: needs a root, such as folder:clips/ with one folder per class in it.")
    if top.is_file():
        raise DataError(f"{root} is a file; folder:ROOT takes a folder with one folder per class in it.")
    if not top.is_dir():
        raise DataError(f"There is no folder {root}. {neighbours(top)}")
    if not any(_visible(top)):
        raise DataError(f"{root} is empty. It should hold one folder per class with video files in it.")
    return top


def _layout(top: Path) -> tuple[dict[Path, str], list[str]]:
    """Split folders with the split that they stand for (none for a plain ROOT/class/clip), and other folders' names.

    A class may be called 'train': only with a second split folder, or nothing else beside it, is it a split.
    """
    folders = [path for path in _visible(top) if path.is_dir()]
    sides = {path: SPLIT_FOLDERS[path.name.lower()] for path in folders if path.name.lower() in SPLIT_FOLDERS}
    others = [path.name for path in folders if path not in sides]
    alone = not others and any(child.is_dir() for path in sides for child in _visible(path))
    is_layout = "train" in sides.values() and (len(set(sides.values())) > 1 or alone)
    return (sides, others) if is_layout else ({}, [])


def _classes(top: Path, side: str, other: Counter[str], notes: list[str]) -> Iterator[_Found]:
    for path in _visible(top):
        if not path.is_dir():
            other[path.suffix.lower() or path.name] += 1
            continue
        clips = [_Found(file, path.name, side) for file in _videos(path, other)]
        if not clips:
            notes.append(f"Left out: {path.name}/ holds no video file.")
        yield from clips


def _videos(folder: Path, other: Counter[str]) -> Iterator[Path]:
    """Video files and folders of images below ``folder``, sorted; what else lies there is counted in ``other``."""
    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        # A link to a folder above would be walked for ever.
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        visible = sorted(name for name in files if not name.startswith("."))
        if not folders and here != os.fspath(folder) and _is_frames(visible):
            yield Path(here)
            continue
        for name in visible:
            path = Path(here, name)
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield path
            else:
                other[path.suffix.lower() or name] += 1


def _is_frames(names: list[str]) -> bool:
    """Whether a folder without folders is a clip: numbered images and nothing that is a clip by itself."""
    images = [name for name in names if is_image(name)]
    return bool(images) and all(map(is_numbered, images)) and not any(map(_is_video, names))


def _is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _kinds(other: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in other.most_common(4))


def _nothing(top: Path, other: Counter[str]) -> str:
    if any(path.suffix.lower() in VIDEO_SUFFIXES for path in _visible(top)):
        return f"{top} holds clips but no class folders. Put the clips of each class into a folder of its name."
    seen = f"what is there: {_kinds(other)}" if other else "its folders are empty"
    return f"No video file below {top}; {seen}. Known suffixes: {', '.join(sorted(VIDEO_SUFFIXES))}."
