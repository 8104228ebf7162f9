"""What a set of clips is like: counts, lengths, sizes, rates, codecs and how even its classes are."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from kinelite.data.check.journal import Journal, stamp_of
from kinelite.data.check.look import Look
from kinelite.data.check.lookers import LIMIT_S
from kinelite.data.check.survey import Progress, survey
from kinelite.data.manifest import Manifest

CLIP_COLUMNS = ("path", "split", "seconds", "frames", "fps", "width", "height", "codec", "container", "problem")


def look_over(
    manifest: Manifest,
    workers: int = 0,
    progress: Progress | None = None,
    limit_s: float = LIMIT_S,
    journal: Journal | None = None,
) -> list[Look]:
    """A look at each clip's packets, in the order of the rows; no more than one frame of it is decoded."""
    return survey(manifest.rows, "facts", workers, progress, limit_s, journal)


def describe(manifest: Manifest, looks: Sequence[Look]) -> dict[str, Any]:
    """Counts per split and class, lengths in seconds, frame sizes, rates and codecs; plain JSON values.

    Clips that cannot be read are counted under 'unreadable' and are missing from lengths, sizes, rates and codecs.
    """
    known = [look.facts for look in looks if look.facts]
    files = {row.path for row in manifest.rows}
    return {
        "name": manifest.name,
        "clips": len(manifest.rows),
        "files": len(files),
        "absent": len(manifest.absent),
        "unreadable": len(looks) - len(known),
        "gib": round(sum(stamp[1] for stamp in map(stamp_of, files) if stamp) / 2**30, 6),
        "hours": round(sum(facts.seconds for facts in known) / 3600, 6),
        "splits": _splits(manifest),
        "classes": {task: _per_class(manifest, i, names) for i, (task, names) in enumerate(manifest.tasks.items())},
        "balance": {task: _balance(manifest, i, names) for i, (task, names) in enumerate(manifest.tasks.items())},
        "seconds": _spread([facts.seconds for facts in known]),
        "frames": _spread([float(facts.frames) for facts in known]),
        "short_side": _spread([float(min(facts.width, facts.height)) for facts in known], total=False),
        "sizes": _tally(f"{facts.width}x{facts.height}" for facts in known),
        "fps": _tally(f"{facts.fps:.4g}" for facts in known),
        "codecs": _tally(facts.codec for facts in known),
        "containers": _tally(facts.container.split(",")[0] for facts in known),
        "notes": list(manifest.notes),
    }


def write_stats(folder: Path, found: dict[str, Any], manifest: Manifest, looks: Sequence[Look]) -> list[Path]:
    """stats.json (what `describe` found), stats.csv (a line per clip), stats.png and stats.svg. Raises OSError."""
    from kinelite.data.check.figure import draw_stats

    folder.mkdir(parents=True, exist_ok=True)
    text = {"stats.json": json.dumps(found, indent=1) + "\n", "stats.csv": _table(manifest, looks)}
    paths = [folder / name for name in text]
    for path in paths:
        path.write_bytes(text[path.name].encode("utf-8", errors="backslashreplace"))
    return paths + draw_stats(folder, found, looks)


def in_words(found: dict[str, Any]) -> str:
    """Length and size of the whole set, such as '7.6 min, 29.0 MiB'."""
    seconds, size = 3600 * found["hours"], 2**30 * found["gib"]
    units = {"h": 3600, "min": 60, "s": 1}
    unit = next((name for name, length in units.items() if seconds >= 2 * length), "s")
    sizes = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
    large = next((name for name, length in sizes.items() if size >= length), "KiB")
    return f"{seconds / units[unit]:,.1f} {unit}, {size / sizes[large]:,.1f} {large}"


def _table(manifest: Manifest, looks: Sequence[Look]) -> str:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*CLIP_COLUMNS, *(f"label_{task}" for task in manifest.tasks), "start_s", "end_s"))
    for row, look in zip(manifest.rows, looks, strict=True):
        facts, labels = (
            look.facts,
            [_name(names, k) for names, k in zip(manifest.tasks.values(), row.labels, strict=True)],
        )
        cells: tuple[Any, ...] = ("",) * 7
        if facts:
            cells = (f"{facts.seconds:.3f}", facts.frames, f"{facts.fps:.4g}", facts.width, facts.height)
            cells += (facts.codec, facts.container)
        problem = "; ".join(reason for reason, _ in look.problems)
        table.writerow((row.path, row.split, *cells, problem, *labels, row.start_s, row.end_s))
    return text.getvalue()


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if 0 <= label < len(names) else str(label)


def _splits(manifest: Manifest) -> dict[str, int]:
    """In the order in which they are used."""
    usual = ("train", "val", "test")
    return dict(sorted(manifest.splits().items(), key=lambda item: (usual + item[:1]).index(item[0])))


def _per_class(manifest: Manifest, task: int, names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    counts = Counter((row.labels[task], row.split) for row in manifest.rows)
    return {name: {split: counts[k, split] for split in _splits(manifest)} for k, name in enumerate(names)}


def _balance(manifest: Manifest, task: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Of all clips over classes: the extremes, classes without a clip, and the accuracy of always naming one class."""
    counts = Counter(row.labels[task] for row in manifest.rows)
    sizes = [counts[k] for k in range(len(names))] or [0]
    return {
        "classes": len(names),
        "empty": sizes.count(0),
        "fewest": min(sizes),
        "median": median(sizes),
        "most": max(sizes),
        "largest_share": round(max(sizes) / max(1, len(manifest.rows)), 6),
    }


def _spread(values: Sequence[float], total: bool = True) -> dict[str, float]:
    if not values:
        return {}
    figures = {"min": min(values), "median": median(values), "max": max(values)} | (
        {"total": sum(values)} if total else {}
    )
    return {name: round(float(value), 3) for name, value in figures.items()}


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
