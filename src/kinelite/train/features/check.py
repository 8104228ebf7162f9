"""Whether stored features are what was written: every record read again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kinelite.errors import DataError
from kinelite.records import explained
from kinelite.train.features.store import FeatureStore


@dataclass
class Found:
    """What a check of one store found."""

    blocks: int
    missing: int
    """Blocks that were not made yet."""
    damaged: dict[str, str] = field(default_factory=dict)
    """File -> what is wrong with it."""
    unreadable: dict[int, str] = field(default_factory=dict)
    """Clip -> why it could not be decoded when its features were made."""


def check_store(store: FeatureStore, progress: Callable[[int, int], None] | None = None) -> Found:
    """Read every record of every block that is there. ``progress`` is told how many blocks are done."""
    missing = set(store.missing())
    blocks = store.layout.blocks(store.clips)
    found = Found(blocks, len(missing))
    for block in range(blocks):
        if block not in missing:
            clips = store.layout.clips_of(block, store.clips)
            try:
                for index in clips:
                    for view in range(store.views):
                        store.read_bytes(index, view)
                reasons = {index: store.problem(index) for index in clips}
                found.unreadable |= {index: reason for index, reason in reasons.items() if reason}
            except DataError as error:
                found.damaged[store.path(block).name] = str(error)
        if progress:
            progress(block + 1, blocks)
    return found


def delete_blocks(store: FeatureStore, names: list[str]) -> None:
    """Delete blocks, so that the pass makes them again. Raises SetupError when the folder cannot be written."""
    store.close()
    with explained(store.folder):
        for name in names:
            (store.folder / name).unlink(missing_ok=True)
