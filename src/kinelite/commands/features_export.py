"""kinelite features export DIR --out DIR2"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from kinelite.cli import parse
from kinelite.commands.progress import bar


@dataclass(frozen=True)
class FeaturesExportFlags:
    """Stored features for other tools: for each split one array [clips, views, vectors, width] and a CSV of the clips.

    Example: kinelite features export features/clips --out exported --format npy
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that kinelite features make or kinelite train wrote, or one store in it."""
    out: Path
    """Folder of the files."""
    format: Literal["safetensors", "npy"] = "safetensors"
    """npy can be memory-mapped and is written piece by piece; safetensors holds the labels too."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse and write."""
    flags = parse(FeaturesExportFlags, "kinelite features export", args)
    from kinelite.train.features.export import export_store
    from kinelite.train.features.store import stores_in

    files: dict[str, list[str]] = {}
    for name, store in stores_in(flags.folder).items():
        with bar(f"{name} clips written") as tick:
            written = export_store(store, flags.out, name, flags.format, tick)
        files[name] = [path.as_posix() for path in written]
        print(f"{name}: {store.clips} clips x {store.views} views: {', '.join(files[name])}")
    return {"out": flags.out.as_posix(), "files": files}
