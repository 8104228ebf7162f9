"""``epic100:ROOT``: EPIC-Kitchens-100, verbs and nouns of short parts of long kitchen videos (Damen et al. 2022).

An action is a pair of verb and noun. Its classes are the 3,568 pairs of the training list, sorted, and after them the
238 pairs that only validation has: nothing can be learnt about those, and their 372 clips still count, as in the
owner's score, where an action is right when verb and noun are. (The lightweight paper states 3,568 classes and scores
all 9,668 clips; RULSTM and its successors list all 3,806.) So figures are comparable whichever heads a model has.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from kinelite.config import SplitConfig
from kinelite.data.manifest import Joint, Manifest, Row
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.sets._frames import LAST_FRAME, frame_part, image_sequence
from kinelite.data.sets._lookup import root_folder
from kinelite.data.sets.folder import VIDEO_SUFFIXES
from kinelite.data.sets.something_something import first_file
from kinelite.data.split import refuse_options
from kinelite.data.tables import Line, check_times, find_file, read_lines, read_table, whole
from kinelite.errors import DataError

TREE = """\
ROOT/EPIC_100_train.csv, EPIC_100_validation.csv, EPIC_100_verb_classes.csv, EPIC_100_noun_classes.csv
                                            also in ROOT/annotations/, ROOT/epic-kitchens-100-annotations/,
                                            or where annotations=DIR says
ROOT/P01/videos/P01_01.MP4                  videos, and with media=frames or without videos
ROOT/P01/rgb_frames/P01_01/frame_%010d.jpg  images; both also below ROOT/EPIC-KITCHENS/ and in other folders of ROOT
"""
_PLACES = ("", "annotations/", "epic-kitchens-100-annotations/")
_VIDEO_ID = re.compile(r"P\d\d_\d{2,3}")
_TIME = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d(?:\.\d+)?)", re.ASCII)
# ROOT/EPIC-KITCHENS/P01/rgb_frames/P01_01 lies four folders down.
_DEPTH = 4
_COLUMNS = (
    "narration_id",
    "video_id",
    "start_timestamp",
    "stop_timestamp",
    "start_frame",
    "stop_frame",
    "verb_class",
    "noun_class",
)


@dataclass(frozen=True)
class EpicOptions(SetOptions):
    """Options of ``epic100``."""

    heads: Literal["verb+noun", "verb+noun+action", "action"] = "verb+noun"
    """What a model predicts. Verb, noun and action are scored in every case."""
    media: Literal["auto", "videos", "frames"] = "auto"
    """auto: videos where they are, else frames."""
    annotations: str = ""
    """The folder of the CSV files, when it is not below the root."""


class _Segment(NamedTuple):
    line: Line
    split: str
    verb: int
    noun: int


@register_set(
    "epic100",
    spec="epic100:ROOT,heads=verb+noun",
    summary="EPIC-Kitchens-100: 97 verbs, 300 nouns, actions; videos or frames",
    options=EpicOptions,
    tree=TREE,
    licence="CC BY-NC 4.0, University of Bristol and the EPIC-Kitchens team; not for commercial use.",
    source="Damen et al., Rescaling egocentric vision, IJCV 2022, arXiv 2006.13256",
    published={"classes verb": 97, "classes noun": 300, "train": 67_217, "val": 9_668, "test": 13_092},
)
def load(root: str, split: SplitConfig, options: EpicOptions) -> Manifest:
    """Segments of the training and validation lists in their order; the test list has no labels and is left out.

    Parts of videos are given by time stamps, parts of image folders by frame numbers. Segments whose video is missing
    are left out and stand in ``absent``. Raises DataError for lists that are missing or damaged and when no video is
    there, UsageError for split options.
    """
    top = root_folder("epic100", root)
    refuse_options(split, "EPIC-Kitchens-100 brings its own split")
    home = Path(options.annotations).expanduser() if options.annotations else top
    verbs, nouns = (_read_classes(_find(home, f"EPIC_100_{part}_classes.csv")) for part in ("verb", "noun"))
    segments, notes = _read_lists(home, len(verbs), len(nouns))
    parts = {"verb": verbs, "noun": nouns}
    pairs = _pairs(segments)
    actions = tuple(f"{verbs[verb]} {nouns[noun]}" for verb, noun in pairs)
    heads = options.heads.split("+")
    tasks = {head: (parts | {"action": actions})[head] for head in heads}
    joint = Joint("action", parts, pairs if "action" in heads else ())
    media = _find_media(top, options.media)
    rows, absent = _rows(segments, media, heads, {pair: k for k, pair in enumerate(pairs)})
    if not rows:
        raise DataError(f"None of the {len(segments)} segments has its video below {top}. Expected:\n{TREE}")
    if absent:
        missing = len({segment.line["video_id"] for segment in segments} - set(media))
        notes.append(f"Left out: {len(absent)} of {len(segments)} segments, because {missing} videos are missing.")
    return Manifest(f"epic100:{root}", tasks, rows, "lightweight_epic", tuple(notes), absent, joint)


def _find(home: Path, name: str) -> Path:
    return find_file(home, *(place + name for place in _PLACES), what=f"file {name}")


def _read_classes(file: Path) -> tuple[str, ...]:
    """Names (the column 'key') in the order of their ids, which must be 0, 1, 2, ..."""
    names: list[str] = []
    seen: set[str] = set()
    for line in read_table(file, needed=("id", "key")):
        number, name = whole(line.where, "id", line["id"]), line["key"]
        if number != len(names) or not name or name in seen:
            raise DataError(f"{line.where}: class '{name}' with id {number}; expected a new name with id {len(names)}.")
        names.append(name)
        seen.add(name)
    if not names:
        raise DataError(f"{file} has a header and no classes.")
    return tuple(names)


def _read_lists(home: Path, verbs: int, nouns: int) -> tuple[list[_Segment], list[str]]:
    """All labelled segments and sentences on how they are divided."""
    found: list[_Segment] = []
    notes: list[str] = []
    for name, side in (("EPIC_100_train.csv", "train"), ("EPIC_100_validation.csv", "val")):
        file = first_file(home, (place + name for place in _PLACES))
        if file:
            found += [_segment(line, side, verbs, nouns) for line in read_table(file, needed=_COLUMNS)]
        else:
            notes.append(f"{name} is not there, so the set has no {side} split.")
    if not found:
        raise DataError(f"{home} holds no segments: neither EPIC_100_train.csv nor EPIC_100_validation.csv has any.")
    _check_ids(found)
    counts = Counter(segment.split for segment in found)
    notes.insert(0, f"Split by the owner's lists: {', '.join(f'{side} {n} segments' for side, n in counts.items())}.")
    return found, [*notes, *_about_pairs(found), *_about_test(home)]


def _segment(line: Line, side: str, verbs: int, nouns: int) -> _Segment:
    verb = whole(line.where, "verb_class", line["verb_class"], below=verbs)
    return _Segment(line, side, verb, whole(line.where, "noun_class", line["noun_class"], below=nouns))


def _check_ids(segments: Iterable[_Segment]) -> None:
    seen: dict[str, str] = {}
    for segment in segments:
        key = segment.line["narration_id"]
        if not key or key in seen:
            what = f"the segment '{key}' is in {seen[key]} as well" if key else "narration_id is empty"
            raise DataError(f"{segment.line.where}: {what}.")
        seen[key] = segment.line.where


def _about_pairs(segments: Sequence[_Segment]) -> Iterator[str]:
    known = {(s.verb, s.noun) for s in segments if s.split == "train"}
    new = [(s.verb, s.noun) for s in segments if s.split == "val" and (s.verb, s.noun) not in known]
    if known and new:
        yield f"{len(new)} val segments show one of {len(set(new))} pairs of verb and noun that train never shows."


def _about_test(home: Path) -> Iterator[str]:
    file = first_file(home, (place + "EPIC_100_test_timestamps.csv" for place in _PLACES))
    if file:
        count = max(0, sum(1 for _ in read_lines(file)) - 1)
        yield f"Left out: the {count} segments of {file.name}, because the owner keeps their labels."


def _pairs(segments: Sequence[_Segment]) -> tuple[tuple[int, int], ...]:
    """Pairs of train, sorted, then those that only other splits have, sorted."""
    train = {(s.verb, s.noun) for s in segments if s.split == "train"}
    return (*sorted(train), *sorted({(s.verb, s.noun) for s in segments} - train))


class _Media(NamedTuple):
    path: str
    numbered: bool
    """An image sequence, in which parts are given by frame number."""


def _find_media(top: Path, media: str) -> dict[str, _Media]:
    """Video id -> file or image sequence. Folders of images are opened for their first names, never listed."""
    videos: dict[str, _Media] = {}
    frames: dict[str, _Media] = {}
    for here, folders, files in os.walk(top, followlinks=True):
        inner = sorted(folders)
        deep = len(Path(here).relative_to(top).parts) >= _DEPTH
        # Flow is stored beside the colour images under the same names; a folder of images holds nothing to walk.
        folders[:] = [] if deep else [x for x in inner if not _VIDEO_ID.fullmatch(x) and "flow" not in x.lower()]
        if media != "frames":
            for name in sorted(files):
                key, suffix = os.path.splitext(name)
                if suffix.lower() in VIDEO_SUFFIXES:
                    videos.setdefault(key, _Media(os.path.join(here, name), False))
        if media != "videos":
            for name in filter(_VIDEO_ID.fullmatch, inner):
                if name not in frames and (sequence := image_sequence(os.path.join(here, name))):
                    frames[name] = _Media(sequence, True)
    return frames | videos


def _rows(
    segments: Sequence[_Segment], media: dict[str, _Media], heads: Sequence[str], number: dict[tuple[int, int], int]
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Rows of segments whose video is there, and the others' names.

    The group is the video, unless the lists at hand have one video on both sides (the owner's have none).
    """
    sides = {(s.line["video_id"], s.split) for s in segments}
    grouped = len(sides) == len({video for video, _ in sides})
    rows, absent = [], []
    for segment in segments:
        video = segment.line["video_id"]
        if video not in media:
            absent.append(f"{video} ({segment.line['narration_id']})")
            continue
        label = {"verb": segment.verb, "noun": segment.noun, "action": number[segment.verb, segment.noun]}
        start_s, end_s = _part(segment.line, media[video].numbered)
        labels = tuple(label[head] for head in heads)
        rows.append(Row(media[video].path, labels, segment.split, start_s, end_s, video if grouped else ""))
    return tuple(rows), tuple(absent)


def _part(line: Line, numbered: bool) -> tuple[float, float]:
    """Beginning and end in seconds: by frame number, or by time stamp."""
    if numbered:
        first, last = (whole(line.where, name, line[name], below=LAST_FRAME) for name in ("start_frame", "stop_frame"))
        return frame_part(line.where, first, last)
    start_s, end_s = (_seconds(line, name) for name in ("start_timestamp", "stop_timestamp"))
    check_times(line.where, start_s, end_s)
    return start_s, end_s


def _seconds(line: Line, name: str) -> float:
    match = _TIME.fullmatch(line[name])
    if match is None:
        raise DataError(f"{line.where}: {name} '{line[name]}' is not a time such as 00:01:02.50.")
    return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])
