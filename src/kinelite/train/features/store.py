"""Reading stored features: blocks of clips, one safetensors file each, every record verified when it is first read.

A folder holds ``store.json`` (what made it), ``rows.json`` (the clips) and ``block-000000.safetensors`` ...: tensors
``features [clips, views, m, d]`` and ``crc32 [clips, views]``, and in the header why a clip could not be decoded.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinelite.data.manifest import Manifest
from kinelite.errors import DataError, UsageError
from kinelite.records import version, write_json
from kinelite.train.features.block import Block, block_name, open_block
from kinelite.train.features.key import Key, read_key, refuse_other

CARD, ROWS = "store.json", "rows.json"
OPEN_FILES = 128
"""Block files that a store keeps open at a time."""
BLOCK_BYTES, FEWEST_BLOCKS, MOST_CLIPS = 2**23, 64, 32
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Layout:
    """How records lie in files."""

    clips_per_block: int

    def blocks(self, clips: int) -> int:
        """Number of blocks."""
        return -(-clips // self.clips_per_block)

    def clips_of(self, block: int, clips: int) -> range:
        """Which clips a block holds."""
        return range(block * self.clips_per_block, min(clips, (block + 1) * self.clips_per_block))


class FeatureStore:
    """Features of all clips of a manifest, which may still lack blocks (`complete`).

    Record (index, view) is ``[m, d]`` with ``m = tubelets * phases``: tubelet by tubelet, its phases one after another.
    """

    def __init__(self, folder: Path, key: Key, layout: Layout) -> None:
        self.folder, self.key, self.layout = folder, key, layout
        self.clips, self.views, self.phases = key.clips, key.views, key.phases
        self.tubelets, self.width = key.tubelets, key.width
        self.dtype = DTYPES[key.precision]
        self.record_bytes = record_bytes(key)
        self._blocks: dict[int, Block] = {}
        self._files: OrderedDict[int, int] = OrderedDict()
        self._verified = np.zeros((key.clips, key.views), bool)

    @property
    def bytes(self) -> int:
        """Bytes of all records together."""
        return self.clips * self.views * self.record_bytes

    def path(self, block: int) -> Path:
        """File of a block."""
        return self.folder / block_name(block)

    def missing(self) -> list[int]:
        """Blocks that are not there."""
        there = set(os.listdir(self.folder))
        return [number for number in range(self.layout.blocks(self.clips)) if block_name(number) not in there]

    @property
    def complete(self) -> bool:
        """Whether every block is there."""
        return not self.missing()

    def read(self, index: int, view: int) -> Float[Tensor, "m d"]:
        """One record, in the type that it is stored in.

        Zeros where the clip could not be decoded, see `problem`. Raises DataError for a damaged file, which it names.
        """
        raw = torch.from_numpy(self.read_bytes(index, view))
        return raw.view(self.dtype).view(self.key.vectors, self.width)

    def read_bytes(self, index: int, view: int) -> UInt8[np.ndarray, " bytes"]:
        """The bytes of one record, a new array. Raises as `read` does, and IndexError for a record that cannot be."""
        if not (0 <= index < self.clips and 0 <= view < self.views):
            raise IndexError(f"Record ({index}, {view}) of {self.clips} clips with {self.views} views")
        number, place = divmod(index, self.layout.clips_per_block)
        block = self._block(number)
        record = np.empty(self.record_bytes, np.uint8)
        offset = block.offset + (place * self.views + view) * self.record_bytes
        got = _read_at(self._file(number), record, offset)
        if not self._verified[index, view]:
            if got != len(record) or zlib.crc32(record.data) != block.crc32[place, view]:
                raise self._damaged(number, f"the record of clip {index}, view {view} is not what was written")
            self._verified[index, view] = True
        elif got != len(record):
            raise self._damaged(number, "it ends early")
        return record

    def problem(self, index: int) -> str | None:
        """Why a clip could not be decoded; None for the others."""
        number, place = divmod(index, self.layout.clips_per_block)
        return self._block(number).problems.get(place)

    def problems(self) -> dict[int, str]:
        """Clip -> reason of all clips that could not be decoded."""
        found: dict[int, str] = {}
        for number in range(self.layout.blocks(self.clips)):
            first = number * self.layout.clips_per_block
            found |= {first + place: reason for place, reason in self._block(number).problems.items()}
        return found

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])
        self._blocks.clear()

    def __del__(self) -> None:
        for file in getattr(self, "_files", {}).values():
            os.close(file)

    def _block(self, number: int) -> Block:
        if number not in self._blocks:
            shape = (len(self.layout.clips_of(number, self.clips)), self.views, self.key.vectors, self.width)
            self._blocks[number] = open_block(self.path(number), shape, self.dtype, f"{self.key.digest()}.{number}")
        return self._blocks[number]

    def _file(self, number: int) -> int:
        file = self._files.get(number)
        if file is None:
            while len(self._files) >= OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            try:
                file = self._files[number] = os.open(self.path(number), os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except OSError as error:
                raise self._damaged(number, error.strerror or str(error)) from error
        self._files.move_to_end(number)
        return file

    def _damaged(self, number: int, why: str) -> DataError:
        return DataError(
            f"'{self.path(number)}' is damaged: {why}. Delete what is damaged with: "
            f"kinelite features check {self.folder} --mend; the command that made it then makes it again."
        )


def _read_at(file: int, out: UInt8[np.ndarray, " bytes"], offset: int) -> int:
    """Bytes read; fewer than asked for where the file ends. Not a memory map: a file that was cut short or a disk that
    fails would end the process by a signal, and a record costs one copy either way."""
    view, done = out.data, 0
    while done < len(view):
        if hasattr(os, "preadv"):
            got = os.preadv(file, [view[done:]], offset + done)
        else:  # Windows
            os.lseek(file, offset + done, os.SEEK_SET)
            content = os.read(file, len(view) - done)
            got = len(content)
            view[done : done + got] = content
        if not got:
            break
        done += got
    return done


def record_bytes(key: Key) -> int:
    """Bytes of one record."""
    return key.vectors * key.width * DTYPES[key.precision].itemsize


def open_store(folder: Path, key: Key | None = None) -> FeatureStore:
    """The store in ``folder``, whole or not. Raises UsageError when there is none, it cannot be read or is not that of
    ``key`` (with what differs)."""
    path = folder / CARD
    try:
        card = json.loads(path.read_text())
        there, layout = read_key(card["key"]), Layout(int(card["layout"]["clips_per_block"]))
    except FileNotFoundError:
        raise UsageError(f"No stored features in '{folder}'. Make them with: kinelite features make --help") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"'{path}' cannot be read ({error}). Delete '{folder}' and make the features again."
        ) from error
    if key is not None:
        refuse_other(str(folder), there, key)
    return FeatureStore(folder, there, layout)


def store_folder(root: Path, split: str) -> Path:
    """Where the store of a split lies below a folder of features."""
    return root / split


def stores_in(folder: Path) -> dict[str, FeatureStore]:
    """Name -> store: the one that ``folder`` itself is, or those up to two levels below it, as `features make` and
    `train` lay them out (``train``; ``stage-2-train``). Raises UsageError when there is none."""
    if (folder / CARD).exists():
        return {folder.name or "features": open_store(folder)}
    found = sorted(path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{CARD}"))
    named = {"-".join(path.relative_to(folder).parts): open_store(path) for path in found}
    return named or {"": open_store(folder)}


def missing_clips(folder: Path, key: Key) -> int:
    """How many clips a store of ``key`` in ``folder`` lacks: all of them when it was not begun.

    Raises UsageError as `open_store` does when it is another store.
    """
    if not (folder / CARD).exists():
        return key.clips
    store = open_store(folder, key)
    return sum(len(store.layout.clips_of(block, key.clips)) for block in store.missing())


def begin_store(folder: Path, key: Key, manifest: Manifest, clips_per_block: int = 0) -> FeatureStore:
    """The store of ``key`` in ``folder``, begun when there is none. To be called by one process at a time.

    ``clips_per_block`` 0: chosen. Raises as `open_store` does, and SetupError when the folder cannot be written.
    """
    if not (folder / CARD).exists():
        layout = Layout(clips_per_block) if clips_per_block else choose_layout(key)
        for left in (*folder.glob(f".{CARD}.*.tmp"), *folder.glob(f".{ROWS}.*.tmp")):
            left.unlink(missing_ok=True)  # of a process that was killed while it wrote
        write_json(folder / ROWS, rows_json(manifest))
        # The card makes a folder a store, so it is written last.
        write_json(
            folder / CARD, {"key": asdict(key), "layout": asdict(layout), "made": {"kinelite": version("kinelite")}}
        )
    return open_store(folder, key)


def write_card(folder: Path, key: Key, layout: Layout, made: Mapping[str, Any]) -> None:
    """Write ``store.json``. ``made`` is for whoever looks into the folder; it is not compared."""
    write_json(folder / CARD, {"key": asdict(key), "layout": asdict(layout), "made": made})


def choose_layout(key: Key) -> Layout:
    """Blocks of about 8 MiB and at most 32 clips, at least 64 of them for processes to share and for kills to cost
    little, where there are so many clips."""
    by_size = BLOCK_BYTES // (key.views * record_bytes(key))
    return Layout(max(1, min(by_size, -(-key.clips // FEWEST_BLOCKS), MOST_CLIPS)))


def rows_json(manifest: Manifest) -> dict[str, Any]:
    """The clips of a store, in its order."""
    rows = [
        {"path": row.path, "labels": row.labels, "split": row.split, "start_s": row.start_s, "end_s": row.end_s}
        for row in manifest.rows
    ]
    return {"name": manifest.name, "tasks": manifest.tasks, "rows": rows}
