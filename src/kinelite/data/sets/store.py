"""``store:DIR``: clips that `kinelite data prepare` decoded once, with the rows, labels and splits of the set they are
from. Licence, classes and counts are those of that set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest, Row
from kinelite.data.prepare.store import (
    CARD,
    Card,
    Entry,
    StoredRow,
    read_card,
    read_entries,
    read_rows,
    shards,
    unfinished,
)
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.split import hold_out, refuse_options
from kinelite.errors import DataError

TREE = """\
DIR/store.json                     set, tasks, settings
DIR/rows.jsonl                     clip, labels, split of every row
DIR/index.jsonl                    size and checksum of every clip
DIR/index-1-of-4.jsonl ...         instead, when four machines shared the work
DIR/failed.csv                     originals that could not be decoded
DIR/clips/0000/0000012-name.clip
"""


@dataclass(frozen=True)
class StoreOptions(SetOptions):
    """Options of ``store``."""

    allow: Literal["", "partial"] = ""
    """partial: take what is prepared so far, and leave out the rest."""
    resplit: bool = False
    """Forget the splits of the set, and make new ones as the --split flags say."""


@register_set(
    "store",
    spec="store:DIR",
    summary="clips that kinelite data prepare decoded once",
    options=StoreOptions,
    tree=TREE,
)
def load(root: str, split: SplitConfig, options: StoreOptions) -> Manifest:
    """The manifest of the set that the store was made of, with the prepared clips as files.

    Raises DataError when the store is not whole (unless ``allow=partial``), damaged or of another version, and
    UsageError for --split flags without ``resplit=true``.
    """
    folder = Path(root).expanduser()
    if not root or not (folder / CARD).is_file():
        raise DataError(
            f"store:{root} is not a folder of prepared clips: there is no {CARD} in it. "
            f"Make one: kinelite data prepare SPEC --out {root or 'DIR'}"
        )
    card = read_card(folder)
    known = shards(folder)
    entries = read_entries(known)
    missing = unfinished(entries, known, card)
    if missing and options.allow != "partial":
        raise DataError(
            f"store:{root} is not finished: {missing} Run its kinelite data prepare command again, "
            f"or take what is there: store:{root},allow=partial"
        )
    stored = read_rows(folder, card)
    usable = [row for row in stored if row.clip in entries and not entries[row.clip].error]
    rows = tuple(_row(folder, row) for row in usable)
    notes = [*card.notes, f"Prepared clips of '{card.set}' ({_how(card)})."]
    notes += _left_out(stored, entries, missing)
    if not rows:
        raise DataError(f"store:{root} holds no clip that can be used. See failed.csv in it.")
    if options.resplit:
        rows, note = hold_out(_ungrouped(rows, split), [row.source for row in usable], split)
        notes = [note, *notes[len(card.notes) :]]
    else:
        refuse_options(split, f"store:{root} keeps the split of its set (another one: store:{root},resplit=true)")
    failed = tuple(dict.fromkeys(row.source for row in stored if row.clip in entries and entries[row.clip].error))
    return Manifest(
        f"store:{root}", card.tasks, rows, card.policy, tuple(notes), absent=(*card.absent, *failed), joint=card.joint
    )


def _row(folder: Path, row: StoredRow) -> Row:
    return Row(str(folder / row.file), row.labels, row.split, group=row.group)


def _ungrouped(rows: tuple[Row, ...], split: SplitConfig) -> tuple[Row, ...]:
    """A pattern replaces the groups that the rows came with."""
    return tuple(replace(row, group="") for row in rows) if split.group is not None else rows


def _how(card: Card) -> str:
    settings = card.settings
    size = f"{settings.size} x {settings.size}" if settings.size else f"short side {settings.short_side or 'as it was'}"
    chosen = [f"{value:g} {name}" for name in ("frames", "fps") if (value := getattr(settings, name))]
    chosen += [f"every {settings.stride}th frame"] if settings.stride else []
    quality = f" at {settings.quality}" if settings.quality else ""
    return ", ".join([f"{settings.format}{quality}", size, *(chosen or ["all frames"])])


def _left_out(stored: list[StoredRow], entries: Mapping[int, Entry], missing: str) -> list[str]:
    failed = sum(row.clip in entries and bool(entries[row.clip].error) for row in stored)
    notes = [f"Left out: {failed} clips whose originals could not be decoded."] if failed else []
    return notes + ([f"Left out, since not prepared yet: {missing}"] if missing else [])
