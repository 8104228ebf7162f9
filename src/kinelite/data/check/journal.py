"""What was found about files, kept as JSON lines, so that a check of a large set goes on where it was stopped.

A line counts as long as its file has the same size and time of change; lines are added as looks end, so a kill at any
moment loses the looks that were under way.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from pathlib import Path
from typing import IO, Any

import msgspec

from kinelite.data.check.look import Depth, Look
from kinelite.data.manifest import Row
from kinelite.errors import SetupError

VERSION = 1
"""Of the lines; raised when looks find other things than before, so that old ones are not taken for them."""
DEPTHS: tuple[Depth, ...] = ("facts", "ends", "full")

Stamp = tuple[int, int, int]
"""Files, bytes and the latest time of change in nanoseconds."""
Key = tuple[str, float | None, float | None]


def stamp_of(path: str) -> Stamp | None:
    """What changes when a clip does, of a file, a folder of images or a sequence ('frame_%05d.jpg'); None if missing.

    Of a folder: its entries' number and their sizes and times, not what is in folders below it.
    """
    try:
        if os.path.isfile(path):
            status = os.stat(path)
            return 1, status.st_size, status.st_mtime_ns
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        if folder != path and "%" not in os.path.basename(path):
            return None
        found = [entry.stat() for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return None
    return len(found), sum(s.st_size for s in found), max((s.st_mtime_ns for s in found), default=0)


class Journal:
    """Looks that are kept in ``file``; with None, only for this run. ``fresh`` forgets what the file holds.

    Raises SetupError when the file cannot be written.
    """

    def __init__(self, file: Path | None = None, fresh: bool = False) -> None:
        self.used = 0
        """Looks that were found here and not done again."""
        self._known: dict[Key, dict[str, Any]] = {}
        self._file: IO[str] | None = None
        if file is None:
            return
        try:
            if not fresh and file.is_file():
                self._read(file)
            file.parent.mkdir(parents=True, exist_ok=True)
            if fresh or not self._known:
                file.unlink(missing_ok=True)
            # Another check of the same set may be adding to it.
            self._file = file.open("a", encoding="ascii")
            # After a kill in the middle of a line the next one must not be glued to it.
            self._file.write("\n")
        except OSError as error:
            raise SetupError(f"{file} cannot be written: {error.strerror}. Name another with --out FILE.") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._file:
            # What could not be written is tried once more.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    @property
    def writes(self) -> bool:
        """Whether what is kept is kept anywhere."""
        return self._file is not None

    def knows(self, row: Row) -> bool:
        """Whether there is a look at this clip, at whatever state of its file."""
        return bool(self._known) and _key(row) in self._known

    def find(self, row: Row, stamp: Stamp | None, depth: Depth, limit_s: float) -> Look | None:
        """A look at this clip that was at least as deep, unless the file has changed since.

        One that took too long counts when no more time is given now; one that ended its process never does.
        """
        line = self._known.get(_key(row))
        if line is None or stamp is None or line["stamp"] != list(stamp):
            return None
        found = msgspec.convert(line["look"], Look)
        deep = DEPTHS.index(line["depth"]) >= DEPTHS.index(depth)
        good = found.lost == "" or (found.lost == "late" and limit_s <= line["limit_s"])
        self.used += deep and good
        return found if deep and good else None

    def keep(self, row: Row, stamp: Stamp | None, depth: Depth, limit_s: float, found: Look) -> None:
        """Add a look; it is on disk, for all but a power cut, when this returns."""
        if self._file is None or stamp is None:
            return
        path, start_s, end_s = _key(row)
        line = {"v": VERSION, "path": path, "start_s": start_s, "end_s": end_s, "stamp": stamp}
        line |= {"depth": depth, "limit_s": limit_s, "look": msgspec.to_builtins(found)}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            # What is found is worth more than that it could be found again.
            warnings.warn(f"{self._file.name} cannot be written: {error.strerror}. The check goes on.", stacklevel=2)
            self._close()

    def _read(self, file: Path) -> None:
        for text in file.read_bytes().splitlines():
            try:
                line = json.loads(text)
                if line["v"] != VERSION or line["depth"] not in DEPTHS:
                    continue
                msgspec.convert(line["look"], Look)
                float(line["limit_s"])
                self._known[line["path"], line["start_s"], line["end_s"]] = line
            except (ValueError, TypeError, KeyError, RecursionError):  # torn, or not ours
                continue


def _key(row: Row) -> Key:
    return os.path.abspath(row.path), row.start_s, row.end_s
