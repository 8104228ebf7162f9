"""What is wrong with a set of clips: every file looked at before hours are spent on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from kinelite.data.check.journal import Journal
from kinelite.data.check.look import Level
from kinelite.data.check.lookers import LIMIT_S
from kinelite.data.check.shared import shared_clips
from kinelite.data.check.survey import Progress, survey
from kinelite.data.manifest import Manifest, Row

LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Problem:
    """Something about one clip, or about the set. An error makes a clip unusable or the split unfair."""

    path: str
    """The clip's; empty for what is about the set as a whole."""
    reason: str
    level: Level = "error"
    start_s: float | None = None
    end_s: float | None = None


def check_manifest(
    manifest: Manifest,
    workers: int = 0,
    progress: Progress | None = None,
    *,
    full: bool = False,
    limit_s: float = LIMIT_S,
    journal: Journal | None = None,
    published: Mapping[str, int] | None = None,
    strict: bool = False,
) -> list[Problem]:
    """Problems of all clips in the order of the rows, then what clips share, what is missing, and what counts differ.

    Of each clip the first, middle and last frame are decoded, with ``full`` all of them. Errors: empty, damaged and
    undecodable files, files without video, clips that take longer than ``limit_s`` seconds, parts outside of their
    file, labels outside of the class list, and the same bytes or the same part of a file in two splits. Notes: clips of
    fewer than 8 frames, videos that seem cut off, the same bytes twice in one split, clips of the lists whose
    file is missing, and counts that differ from those ``published``. ``strict`` makes errors of the notes.

    ``workers``: processes (0: this one, where ``limit_s`` does not apply).
    """
    looks = survey(manifest.rows, "full" if full else "ends", workers, progress, limit_s, journal)
    problems = [
        _about(row, reason, level)
        for row, look in zip(manifest.rows, looks, strict=True)
        for reason, level in (*look.problems, *_labels(manifest, row))
    ]
    problems += [_shared(row, what, other) for row, what, other in shared_clips(manifest.rows)]
    problems += [Problem(path, "is in the set's lists, but missing", "note") for path in manifest.absent]
    problems += [Problem("", reason, "note") for reason in differing_counts(manifest, published or {})]
    return [replace(problem, level="error") for problem in problems] if strict else problems


def differing_counts(manifest: Manifest, published: Mapping[str, int]) -> list[str]:
    """A sentence for each published count that the set does not have.

    ``published`` is as in `kinelite.data.sets.SetCard`: classes (of one task: 'classes TASK') and clips of splits.
    A split that is not there at all is left out: test splits are often withheld.
    """
    found = {"classes": len(manifest.classes)} | {f"classes {t}": len(names) for t, names in manifest.tasks.items()}
    found |= manifest.splits()
    absent = f" ({len(manifest.absent):,} clips of the lists are missing)" if manifest.absent else ""
    return [
        f"{name}: {found[name]:,}{'' if name.startswith('classes') else ' clips' + absent}; published are {count:,}"
        for name, count in published.items()
        if name in found and found[name] != count
    ]


def _about(row: Row, reason: str, level: Level) -> Problem:
    return Problem(row.path, reason, level, row.start_s, row.end_s)


def _labels(manifest: Manifest, row: Row) -> list[tuple[str, Level]]:
    return [
        (f"label {label} of '{task}' is outside of its {len(names)} classes", "error")
        for label, (task, names) in zip(row.labels, manifest.tasks.items(), strict=True)
        if not 0 <= label < len(names)
    ]


def _shared(row: Row, what: str, other: Row) -> Problem:
    if row.split != other.split:
        return _about(row, f"{what} is in {other.split} as well as in {row.split}", "error")
    labels = ", with another label" if row.labels != other.labels else ""
    return _about(row, f"{what} is in {row.split} as well{labels}", "note")
