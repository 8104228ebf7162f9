"""Stored features for other tools: one array per store, and a list of its clips."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file

from kinelite.errors import DataError, UsageError
from kinelite.records import explained, replace_bytes
from kinelite.train.features.store import ROWS, FeatureStore

Format = Literal["safetensors", "npy"]
Progress = Callable[[int, int], None]


def export_store(
    store: FeatureStore, folder: Path, name: str, format: Format, progress: Progress | None = None
) -> list[Path]:
    """Write ``NAME.npy`` or ``NAME.safetensors`` (features ``[clips, views, m, d]``) and ``NAME.csv``; returns both.

    A clip that could not be decoded is zeros, and its reason stands in the list. NumPy has no bf16: features stored in
    it come as fp32. An array in npy is written clip by clip and can be memory-mapped; one in safetensors, which holds
    the labels too, passes through memory. Raises UsageError for an unfinished store, DataError for damage, SetupError
    when the folder cannot be written.
    """
    if missing := store.missing():
        raise UsageError(
            f"'{store.folder}' is unfinished: {len(missing)} of {store.layout.blocks(store.clips)} blocks are missing. "
            "The command that began it continues."
        )
    listed = _listed(store)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.{format}"
        partial = folder / f".{path.name}.tmp"
        try:
            write = _write_npy if format == "npy" else _write_safetensors
            write(store, partial, listed, progress or _quiet)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    table = folder / f"{name}.csv"
    replace_bytes(table, _table(store, listed))
    return [path, table]


def _write_npy(store: FeatureStore, path: Path, listed: dict[str, Any], progress: Progress) -> None:
    dtype = np.float16 if store.dtype == torch.float16 else np.float32
    shape = (store.clips, store.views, store.key.vectors, store.width)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(
            file, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        )
        for index in range(store.clips):
            for view in range(store.views):
                file.write(store.read(index, view).to(torch.float32).numpy().astype(dtype).tobytes())
            progress(index + 1, store.clips)


def _write_safetensors(store: FeatureStore, path: Path, listed: dict[str, Any], progress: Progress) -> None:
    features = torch.empty(store.clips, store.views, store.key.vectors, store.width, dtype=store.dtype)
    for index in range(store.clips):
        for view in range(store.views):
            features[index, view] = store.read(index, view)
        progress(index + 1, store.clips)
    labels = torch.tensor([row["labels"] for row in listed["rows"]], dtype=torch.int64).reshape(store.clips, -1)
    readable = torch.tensor([store.problem(index) is None for index in range(store.clips)])
    metadata = {"format": "pt", "tasks": json.dumps(listed["tasks"])}
    save_file({"features": features, "labels": labels, "readable": readable}, path, metadata)


def _listed(store: FeatureStore) -> dict[str, Any]:
    path = store.folder / ROWS
    try:
        listed = json.loads(path.read_text())
        if len(listed["rows"]) != store.clips or not isinstance(listed["tasks"], dict):
            raise ValueError(f"{len(listed['rows'])} clips instead of {store.clips}")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"'{path}' cannot be read ({error}). Delete '{store.folder}' and make it again.") from error
    return listed


def _table(store: FeatureStore, listed: dict[str, Any]) -> bytes:
    """The clips in the order of the array: path, one column per task with the class's name and one with its number,
    split, part of the file, reason."""
    tasks: dict[str, Sequence[str]] = listed["tasks"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["clip", "path", *tasks, *(f"{task}_number" for task in tasks), "split", "start_s", "end_s", "problem"]
    )
    for index, row in enumerate(listed["rows"]):
        names = [classes[number] for classes, number in zip(tasks.values(), row["labels"], strict=True)]
        part = [row["split"], row["start_s"], row["end_s"], store.problem(index)]
        table.writerow([index, row["path"], *names, *row["labels"], *part])
    return text.getvalue().encode(errors="surrogateescape")


def _quiet(_done: int, _total: int) -> None:
    """Progress that nobody watches."""
