"""kinelite features check DIR"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.commands.progress import bar

if TYPE_CHECKING:
    from kinelite.train.features.check import Found
    from kinelite.train.features.store import FeatureStore


@dataclass(frozen=True)
class FeaturesCheckFlags:
    """Read every record of stored features again; say what made them, what is damaged and what is missing.

    Example: kinelite features check features/clips
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that kinelite features make or kinelite train wrote, or one store in it."""
    mend: bool = False
    """Delete damaged blocks, so that the command that made them makes them again."""
    retry: bool = False
    """With --mend: also delete blocks in which a clip could not be decoded, to try it again."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse and check; exit code 4 when anything is damaged."""
    flags = parse(FeaturesCheckFlags, "kinelite features check", args)
    from kinelite.train.features.check import check_store
    from kinelite.train.features.store import stores_in

    result: dict[str, Any] = {"folder": flags.folder.as_posix(), "stores": {}}
    damaged = 0
    for name, store in stores_in(flags.folder).items():
        with bar(f"{name} blocks read") as tick:
            found = check_store(store, tick)
        _tell(name, store, found)
        deleted = _mend(store, found, flags.retry) if flags.mend else []
        damaged += len(found.damaged)
        result["stores"][name] = {
            "key": store.key.digest(),
            "blocks": found.blocks,
            "missing": found.missing,
            "damaged": sorted(found.damaged),
            "unreadable": [{"clip": clip, "reason": reason} for clip, reason in found.unreadable.items()],
            "deleted": deleted,
        }
    return result | {"exit_code": 4 if damaged else 0}


def _tell(name: str, store: FeatureStore, found: Found) -> None:
    key = store.key
    print(
        f"{name}: {key.clips} clips x {key.views} views x {key.vectors} vectors x {key.width} in {key.precision}, by "
        f"the encoder of {key.model} ({key.weights}) in {key.compute}, {key.spec.frames} frames of {key.spec.size} "
        f"pixels, policy {key.policy_name or 'none'}, seed {key.seed}."
    )
    print(f"  {found.blocks - found.missing} of {found.blocks} blocks are there, {len(found.damaged)} damaged.")
    for reason in found.damaged.values():
        print(f"  {reason}")
    if found.unreadable:
        print(f"  {len(found.unreadable)} clips could not be decoded: {next(iter(found.unreadable.values()))}")
    if found.missing:
        print("  Unfinished: the command that began it continues.")


def _mend(store: FeatureStore, found: Found, retry: bool) -> list[str]:
    from kinelite.train.features.check import delete_blocks

    names = set(found.damaged)
    if retry:
        names |= {store.path(clip // store.layout.clips_per_block).name for clip in found.unreadable}
    delete_blocks(store, sorted(names))
    if names:
        print(f"  {len(names)} blocks deleted. The command that made them makes them again.")
    return sorted(names)
