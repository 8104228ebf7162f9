"""Checking, mending and exporting stores."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinelite.data.manifest import Manifest, Row
from kinelite.errors import DataError, UsageError
from kinelite.train.features.block import write_block
from kinelite.train.features.check import check_store, delete_blocks
from kinelite.train.features.export import export_store
from kinelite.train.features.key import Key
from kinelite.train.features.store import FeatureStore, begin_store, open_store, stores_in
from kinelite.types import InputSpec

TASKS = {"verb": ("take", "put"), "noun": ("cup", "pän", "lid")}
ROWS = tuple(Row(f"clip,{i}.mp4", (i % 2, i % 3), "train", 1.5 * i, None) for i in range(5))
MANIFEST = Manifest("x", TASKS, ROWS)


def filled(folder: Path, **changes: Any) -> tuple[FeatureStore, torch.Tensor]:
    key = Key("w", "m", None, None, 4, 6, InputSpec(8, 32), MANIFEST.fingerprint(), 5, views=2)
    key = replace(key, **changes)
    store = begin_store(folder, key, MANIFEST, clips_per_block=2)
    features = torch.randn(5, 2, 2, 6, generator=torch.Generator().manual_seed(0)).to(store.dtype)
    features[3] = 0
    for block in store.missing():
        clips = store.layout.clips_of(block, 5)
        problems = {1: "clip,3.mp4: damaged"} if block == 1 else {}
        write_block(store.path(block), features[clips.start : clips.stop], problems, f"{key.digest()}.{block}")
    return open_store(folder), features


def damage(store: FeatureStore, block: int) -> None:
    content = bytearray(store.path(block).read_bytes())
    content[-1] ^= 1
    store.path(block).write_bytes(content)


def test_a_check_names_damage_and_unreadable_clips(tmp_path: Path) -> None:
    store, _ = filled(tmp_path)
    told: list[tuple[int, int]] = []
    found = check_store(store, lambda *at: told.append(at))
    assert (found.blocks, found.missing, found.damaged) == (3, 0, {})
    assert found.unreadable == {3: "clip,3.mp4: damaged"}
    assert told == [(1, 3), (2, 3), (3, 3)]
    damage(store, 2)
    store.path(0).unlink()
    found = check_store(open_store(tmp_path))
    assert list(found.damaged) == ["block-000002.safetensors"]
    assert found.missing == 1
    delete_blocks(store, list(found.damaged))
    assert open_store(tmp_path).missing() == [0, 2]


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_arrays_hold_what_the_store_holds(tmp_path: Path, precision: Any) -> None:
    store, features = filled(tmp_path / "s", precision=precision)
    array, table = export_store(store, tmp_path / "out", "train", "npy")
    loaded = np.load(array, mmap_mode="r")
    assert loaded.dtype == (np.float16 if precision == "fp16" else np.float32)
    np.testing.assert_array_equal(loaded, features.float().numpy().astype(loaded.dtype))
    tensors, again = export_store(store, tmp_path / "out", "train", "safetensors")
    found = load_file(tensors)
    assert torch.equal(found["features"], features)
    assert found["labels"].tolist() == [list(row.labels) for row in ROWS]
    assert found["readable"].tolist() == [True, True, True, False, True]
    assert again == table
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train.csv", "train.npy", "train.safetensors"]
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert rows[4] == {
        "clip": "4",
        "path": "clip,4.mp4",
        "verb": "take",
        "noun": "pän",
        "verb_number": "0",
        "noun_number": "1",
        "split": "train",
        "start_s": "6.0",
        "end_s": "",
        "problem": "",
    }
    assert [row["problem"] for row in rows] == ["", "", "", "clip,3.mp4: damaged", ""]


@pytest.mark.parametrize("format", ["npy", "safetensors"])
def test_damage_and_missing_blocks_end_an_export_without_a_file(tmp_path: Path, format: Any) -> None:
    store, _ = filled(tmp_path / "s")
    damage(store, 2)
    with pytest.raises(DataError, match="block-000002"):
        export_store(open_store(tmp_path / "s"), tmp_path / "out", "train", format)
    assert list((tmp_path / "out").iterdir()) == []
    store.path(1).unlink()
    with pytest.raises(UsageError, match="unfinished: 1 of 3 blocks"):
        export_store(store, tmp_path / "out", "train", format)
    filled(tmp_path / "t")
    (tmp_path / "t" / "rows.json").write_text("{}")
    with pytest.raises(DataError, match=r"rows\.json"):
        export_store(open_store(tmp_path / "t"), tmp_path / "out", "train", format)


def test_a_folder_of_stores_or_one_store(tmp_path: Path) -> None:
    filled(tmp_path / "f" / "train")
    filled(tmp_path / "f" / "val")
    assert list(stores_in(tmp_path / "f")) == ["train", "val"]
    assert list(stores_in(tmp_path / "f" / "val")) == ["val"]
    assert list(stores_in(tmp_path)) == ["f-train", "f-val"]
    with pytest.raises(UsageError, match="No stored features"):
        stores_in(tmp_path / "f" / "nothing")
