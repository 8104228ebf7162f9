"""What preparing a set will take, from a few of its clips; and which format it takes when none is named."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kinelite.data.manifest import Row
from kinelite.data.prepare.store import Settings
from kinelite.data.prepare.trial import Try, trial
from kinelite.errors import DataError

SAMPLE = 8
"""Clips that are looked at, spread evenly over the set."""
PATIENCE_S = 30.0
"""No further clip is begun after so many seconds, once one has been tried."""
LARGEST_SHARE = 2.0
"""A store whose format was not asked for is to be at most so many times as large as the originals."""
LADDER = (
    Settings("raw", 0),
    Settings("raw-yuv", 0),
    Settings("jpeg", 90),
    Settings("h264", 20),
    Settings("h264", 22, gop=2),
    Settings("h264", 22, gop=4),
    Settings("h264", 25, gop=8),
)
"""From fast to small, as measured (docs/prepare.md)."""


@dataclass(frozen=True)
class Estimate:
    """What some clips of a set became under some settings."""

    settings: Settings
    clips: int
    bytes_per_clip: float
    raw_bytes_per_clip: float
    """As RGB."""
    original_bytes_per_clip: float
    seconds_per_clip: float
    """Of one process."""

    @property
    def share(self) -> float:
        """Bytes of the store per byte of the originals."""
        return self.bytes_per_clip / max(1.0, self.original_bytes_per_clip)

    def as_raw(self, settings: Settings) -> Estimate:
        """The same clips in a raw format, which needs no trial."""
        part = 1.0 if settings.format == "raw" else 0.5
        return replace(self, settings=settings, bytes_per_clip=part * self.raw_bytes_per_clip)


def estimate(clips: Sequence[Row], settings: Settings, attempt: Try = trial) -> Estimate:
    """Bytes and seconds per clip. Raises DataError when none of the sample can be decoded."""
    began, found, reason = time.monotonic(), [], ""
    for row in spread(clips):
        tried = attempt(row, settings)
        if tried.error:
            reason = f"{row.path}: {tried.error}"
            continue
        found.append(tried)
        if time.monotonic() - began > PATIENCE_S:
            break
    if not found:
        raise DataError(f"None of the clips that were tried can be decoded, such as {reason}")
    return Estimate(
        settings,
        len(found),
        sum(tried.bytes for tried in found) / len(found),
        sum(tried.raw_bytes for tried in found) / len(found),
        sum(tried.original_bytes for tried in found) / len(found),
        sum(tried.seconds for tried in found) / len(found),
    )


def choose_format(clips: Sequence[Row], settings: Settings, attempt: Try = trial) -> Estimate:
    """The fastest of `LADDER` that stays below `LARGEST_SHARE` times the originals, else the smallest.

    Decided by sizes alone, so that machines that share the work decide alike.
    """
    tried = [replace(settings, format=rung.format, quality=rung.quality, gop=rung.gop) for rung in LADDER]
    found = estimate(clips, tried[2], attempt)
    for candidate in (found.as_raw(tried[0]), found.as_raw(tried[1]), found):
        if candidate.share <= LARGEST_SHARE:
            return candidate
    for rung in tried[3:]:
        found = estimate(clips, rung, attempt)
        if found.share <= LARGEST_SHARE:
            break
    return found


def spread(clips: Sequence[Row]) -> list[Row]:
    """A few of the clips, evenly spread."""
    count = min(SAMPLE, len(clips))
    return [clips[(2 * place + 1) * len(clips) // (2 * count)] for place in range(count)]


def free_bytes(folder: Path) -> int:
    """Free space where ``folder`` is or will be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
