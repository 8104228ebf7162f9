"""The folder of a store of prepared clips: what it was made of (store.json), which clip answers which row (rows.jsonl),
and what is finished (index.jsonl, or one index-I-of-N.jsonl per machine). Its paths are relative: it can be moved.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from kinelite.data.manifest import Joint, Manifest, Row
from kinelite.data.tables import read_json
from kinelite.errors import DataError, UsageError
from kinelite.records import read_jsonl, version

VERSION = 1
SUFFIX = ".clip"
CARD, ROWS = "store.json", "rows.jsonl"

Format = Literal["h264", "jpeg", "raw", "raw-yuv"]
FORMATS: tuple[Format, ...] = ("h264", "jpeg", "raw", "raw-yuv")
DEFAULT_QUALITY = {"h264": 20, "jpeg": 90, "raw": 0, "raw-yuv": 0}


@dataclass(frozen=True)
class Settings:
    """What of a clip is stored, and how."""

    format: Format = "h264"
    """h264: packets of one frame. jpeg: a picture per frame. raw: RGB. raw-yuv: planes of YUV 4:2:0, half the bytes."""
    quality: int = 20
    """Constant rate factor of h264 (0 to 51, less is better), or the quality of JPEG (1 to 100); 0 for the raw ones."""
    gop: int = 1
    """Every so many-th frame can be decoded without another one; above 1 in h264 only."""
    short_side: int | None = None
    """Larger frames are shrunk to this short side, in pixels."""
    size: int | None = None
    """Frames are squashed to size x size pixels."""
    frames: int | None = None
    """So many frames of each clip are kept, one per equal segment."""
    fps: float | None = None
    """So many frames per second are kept."""
    stride: int | None = None
    """Every so many-th frame is kept."""

    def check(self) -> None:
        """Raises UsageError for what cannot be meant."""
        low, high = {"h264": (0, 51), "jpeg": (1, 100)}.get(self.format, (0, 0))
        if not low <= self.quality <= high:
            raise UsageError(f"--quality {self.quality} with --format {self.format}: allowed are {low} to {high}.")
        if not 1 <= self.gop <= 250 or (self.gop > 1 and self.format != "h264"):
            raise UsageError(f"--gop {self.gop} with --format {self.format}: 1 to 250 with h264, else 1.")
        for name in ("short_side", "size", "frames", "fps", "stride"):
            value = getattr(self, name)
            if value is not None and not (0 < value < 1e5):
                raise UsageError(f"--{name.replace('_', '-')} {value}: give a positive number.")
        for group in (("short_side", "size"), ("frames", "fps", "stride")):
            given = [f"--{name.replace('_', '-')}" for name in group if getattr(self, name) is not None]
            if len(given) > 1:
                raise UsageError(f"{' and '.join(given)} exclude each other: give one.")


@dataclass(frozen=True)
class Card:
    """store.json."""

    version: int
    kinelite: str
    """Version of Kinelite that made it."""
    set: str
    """The set that it was made of, as it was named then."""
    tasks: dict[str, tuple[str, ...]]
    policy: str
    joint: Joint | None
    settings: Settings
    clips: int
    """Files; rows that name the same part of the same source share one."""
    rows: int
    rows_sha256: str
    notes: tuple[str, ...] = ()
    absent: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class StoredRow:
    """One line of rows.jsonl."""

    clip: int
    source: str
    """Path of the original below the set's root."""
    labels: tuple[int, ...]
    split: str
    start_s: float | None = None
    end_s: float | None = None
    group: str = ""

    @property
    def file(self) -> str:
        """The clip's file, relative to the store: number and name, a thousand to a folder."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(self.source).stem)[:60]
        return f"clips/{self.clip // 1000:04d}/{self.clip:07d}-{stem}{SUFFIX}"


@dataclass(frozen=True)
class Entry:
    """One line of an index: a finished clip, or why there is none."""

    clip: int
    bytes: int = 0
    sha256: str = ""
    frames: int = 0
    source_bytes: int = 0
    cut_s: float | None = None
    """Where a damaged original breaks off: the clip ends there."""
    error: str = ""


@dataclass(frozen=True)
class Shard:
    """Which share of the clips a machine makes: every ``of``-th, from clip ``number`` - 1 on."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/4``: the second of four. Raises UsageError."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.of:
            raise UsageError(f"--shard {text}: give number/of, counted from 1, such as 2/4.")
        return shard

    def part(self, rank: int, ranks: int) -> Shard:
        """What one of so many processes makes of this share."""
        return Shard(self.number + self.of * rank, self.of * ranks)

    def holds(self, clip: int) -> bool:
        return clip % self.of == self.number - 1

    def name(self, stem: str, suffix: str) -> str:
        """File name of this shard: stem.suffix when there is only one, else stem-2-of-4.suffix."""
        return f"{stem}{suffix}" if self.of == 1 else f"{stem}-{self.number}-of-{self.of}{suffix}"


WHOLE = Shard()


def describe(manifest: Manifest, settings: Settings) -> tuple[Card, list[StoredRow], list[Row]]:
    """Card and rows of the store that ``manifest`` becomes, and the row of the manifest behind each clip."""
    paths = [os.path.abspath(row.path) for row in manifest.rows]
    top = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    numbers: dict[tuple[str, float | None, float | None], int] = {}
    clips: list[Row] = []
    rows: list[StoredRow] = []
    for row, path in zip(manifest.rows, paths, strict=True):
        key = (path, row.start_s, row.end_s)
        if key not in numbers:
            numbers[key] = len(clips)
            clips.append(row)
        source = Path(os.path.relpath(path, top)).as_posix()
        rows.append(StoredRow(numbers[key], source, row.labels, row.split, row.start_s, row.end_s, row.group))
    card = Card(
        version=VERSION,
        kinelite=version("kinelite") or "",
        set=manifest.name,
        tasks={task: tuple(names) for task, names in manifest.tasks.items()},
        policy=manifest.policy,
        joint=manifest.joint,
        settings=settings,
        clips=len(clips),
        rows=len(rows),
        rows_sha256=hashlib.sha256(rows_text(rows)).hexdigest(),
        notes=manifest.notes,
        absent=manifest.absent,
    )
    return card, rows, clips


def rows_text(rows: Sequence[StoredRow]) -> bytes:
    """Content of rows.jsonl."""
    return b"".join(to_line(row) for row in rows)


def to_line(value: Any) -> bytes:
    """A line of JSON. File names that are not UTF-8 hold lone surrogates, which only the escapes of ASCII can carry."""
    return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes | str, kind: Any) -> Any:
    """What `to_line` wrote. Raises ValueError."""
    return msgspec.convert(json.loads(line), kind)


def read_card(folder: Path) -> Card:
    """store.json of a store. Raises DataError when it isn't one, or is of another version."""
    data = read_json(folder / CARD)
    version = data.get("version") if isinstance(data, dict) else None
    if version != VERSION:
        raise DataError(
            f"{folder / CARD} is of version {version}; this Kinelite reads version {VERSION}. Prepare the set anew."
        )
    return _typed(data, Card, str(folder / CARD))


def read_rows(folder: Path, card: Card) -> list[StoredRow]:
    """rows.jsonl of a store. Raises DataError when it is not the one that the card was written for."""
    file = folder / ROWS
    if not file.is_file():
        raise DataError(f"{folder} is not a whole store: {ROWS} is missing. Copy it, or prepare the set anew.")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != card.rows_sha256:
        raise DataError(f"{file} does not belong to {CARD} or is damaged. Copy it again, or prepare the set anew.")
    return [from_line(line, StoredRow) for line in content.splitlines()]


def read_index(file: Path) -> dict[int, Entry]:
    """Entries of one index by clip; of two for one clip the later. A line that a kill cut off is left out."""
    if not file.exists():
        return {}
    entries = [_typed(line, Entry, str(file)) for line in read_jsonl(file)[0]]
    return {entry.clip: entry for entry in entries}


def shards(folder: Path) -> dict[Shard, Path]:
    """The indexes of a store."""
    found = {WHOLE: folder / "index.jsonl"} if (folder / "index.jsonl").exists() else {}
    for file in sorted(folder.glob("index-*-of-*.jsonl")):
        match = re.fullmatch(r"index-(\d+)-of-(\d+)\.jsonl", file.name)
        if match:
            found[Shard(int(match[1]), int(match[2]))] = file
    return found


def read_entries(known: Mapping[Shard, Path]) -> dict[int, Entry]:
    """Entries of all indexes by clip. What one run could not make another one may have made."""
    entries: dict[int, Entry] = {}
    for file in known.values():
        for clip, entry in read_index(file).items():
            if not entry.error or clip not in entries:
                entries[clip] = entry
    return entries


def unfinished(entries: Mapping[int, Entry], known: Mapping[Shard, Path], card: Card) -> str:
    """A sentence on what is missing from a store, by shard; empty when nothing is."""
    missing = [clip for clip in range(card.clips) if clip not in entries]
    if not missing:
        return ""
    of = max((shard.of for shard in known), default=1)
    if of == 1:
        return f"{len(missing)} of {card.clips} clips are not prepared yet."
    parts = []
    for shard in (Shard(number, of) for number in range(1, of + 1)):
        count = sum(shard.holds(clip) for clip in missing)
        if count:
            state = f"lacks {count} clips" if shard in known else "is missing"
            parts.append(f"shard {shard.number}/{of} {state}")
    return f"{', '.join(parts)} ({len(missing)} of {card.clips} clips)."


def conflict(old: Card, new: Card) -> str:
    """What two cards disagree on, as 'short_side 256 there, 224 now'; empty when clips of both may lie together."""
    then: dict[str, Any] = msgspec.to_builtins(old)
    now: dict[str, Any] = msgspec.to_builtins(new)
    then |= then.pop("settings")
    now |= now.pop("settings")
    others = {"tasks": "other classes", "joint": "another joint label", "rows_sha256": "other clips, labels or splits"}
    told = ("kinelite", "set", "notes", "absent", *others)
    differ = [name for name in then if then[name] != now[name]]
    parts = [f"{name} {then[name]} there, {now[name]} now" for name in differ if name not in told]
    parts += [others[name] for name in differ if name in others]
    return "; ".join(parts)


def _typed(data: Any, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise DataError(f"{where} is not as Kinelite writes it: {error}. Prepare the set anew.") from error
