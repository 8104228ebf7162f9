"""Bytes and seconds told before a pass, and refusing what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kinelite.config import NetConfig, SplitConfig
from kinelite.data.manifest import Manifest
from kinelite.data.sets import load_set
from kinelite.errors import DataError, SetupError
from kinelite.models import create_model
from kinelite.train.features import room
from kinelite.train.features.extract import Means, extract
from kinelite.train.features.key import Key, make_key
from kinelite.train.features.room import Estimate, check_room, estimate, store_bytes
from kinelite.train.features.store import begin_store


@pytest.fixture
def manifest(clip_folder: Path) -> Manifest:
    return load_set(f"folder:{clip_folder}", SplitConfig())


def prepared(manifest: Manifest, **options: Any) -> tuple[Any, Key]:
    torch.manual_seed(0)
    model: Any = create_model("vivit_fe_nano", num_classes=2, frames=16, size=32)
    given: dict[str, Any] = {"net": NetConfig(), "views": 4, "phases": 5, "policy": "flip", "precision": "fp32"}
    return model, make_key(model, manifest, **given | options)


def test_the_estimate_is_about_what_the_store_takes(manifest: Manifest, tmp_path: Path) -> None:
    model, key = prepared(manifest)
    found = estimate(model, manifest, key, Means())
    store = extract(model, manifest, key, tmp_path, Means(clips_per_block=12))
    taken = sum(path.stat().st_size for path in tmp_path.glob("block-*"))
    assert found.bytes == store_bytes(key)
    assert 0.97 < found.bytes / taken < 1.03
    assert store.bytes == pytest.approx(found.bytes, rel=0.011)
    assert found.decode_s > 0
    assert found.encode_s > 0
    assert found.clips == len(manifest.rows)
    assert estimate(model, manifest, key, Means(), clips=3).clips == 3


def test_seconds_are_those_of_the_slower_side_where_processes_read() -> None:
    alone = Estimate(10, decode_s=0.3, encode_s=0.1, clips=10, workers=0)
    assert alone.seconds == pytest.approx(4)
    assert replace(alone, workers=1).seconds == pytest.approx(3)
    assert replace(alone, workers=1, encode_s=0.5).seconds == pytest.approx(5)
    assert "300 ms" in str(alone)
    assert "minutes" in str(replace(alone, clips=1000))
    assert "2.00 GiB" in str(replace(alone, bytes=2 * 2**30))


def test_patience_ends_with_one_clip(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    model, key = prepared(manifest, views=1, phases=1)
    read, rows = room.read_sample, []
    monkeypatch.setattr(room, "read_sample", lambda row, *rest: rows.append(row) or read(row, *rest))
    estimate(model, manifest, key, Means(), patience_s=0.0)
    assert len(rows) == 1
    gone = replace(manifest, rows=tuple(replace(row, path="missing.mp4") for row in manifest.rows))
    with pytest.raises(DataError, match=r"None of the clips.*missing\.mp4"):
        estimate(model, gone, key, Means())


def test_what_does_not_fit_is_refused_with_the_views_that_do(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = prepared(manifest)
    store = begin_store(tmp_path, key, manifest, clips_per_block=2)
    blocks, whole = store.layout.blocks(store.clips), store_bytes(key)
    monkeypatch.setattr(room, "free_bytes", lambda _: int(0.8 * whole))
    with pytest.raises(SetupError, match=r"GiB free\. 3 views fit: --features\.views 3"):
        check_room(store, blocks)
    check_room(store, blocks // 2)  # what is there already needs no room
    monkeypatch.setattr(room, "free_bytes", lambda _: 100 * whole)
    check_room(store, blocks)
    check_room(store, blocks, 1.01 * whole / 2**30)
    with pytest.raises(SetupError, match="Not even one view fits"):
        check_room(store, blocks, 0.2 * whole / 2**30)
