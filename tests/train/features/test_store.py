"""Blocks on the disk: records come back, damage is found and named, and the bytes depend on the content alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kinelite.data.manifest import Manifest, Row
from kinelite.errors import DataError, UsageError
from kinelite.train.features import store as stores
from kinelite.train.features.block import write_block
from kinelite.train.features.key import Key
from kinelite.train.features.store import FeatureStore, begin_store, choose_layout, open_store
from kinelite.types import InputSpec

SPEC = InputSpec(8, 32)
MANIFEST = Manifest("x", {"label": ("a", "b")}, tuple(Row(f"{i}.mp4", (i % 2,), "train") for i in range(5)))


def key_of(**changes: Any) -> Key:
    key = Key("w", "m", None, None, 4, 6, SPEC, MANIFEST.fingerprint(), 5, views=2, phases=3, policy="flip: x")
    return replace(key, **changes)


def filled(folder: Path, key: Key) -> tuple[FeatureStore, torch.Tensor]:
    store = begin_store(folder, key, MANIFEST, clips_per_block=2)
    features = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(0)).to(store.dtype)
    for block in store.missing():
        clips = store.layout.clips_of(block, 5)
        problems = {1: "3.mp4: größer als alles"} if block == 1 else {}
        write_block(store.path(block), features[clips.start : clips.stop], problems, f"{key.digest()}.{block}")
    return open_store(folder, key), features


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_records_come_back_in_any_order(tmp_path: Path, precision: Any) -> None:
    store, features = filled(tmp_path, key_of(precision=precision))
    assert store.complete
    for index, view in ((4, 1), (0, 0), (3, 1), (2, 0), (4, 1)):
        assert torch.equal(store.read(index, view), features[index, view])
    assert store.problems() == {3: "3.mp4: größer als alles"}
    assert (store.problem(3), store.problem(2)) == ("3.mp4: größer als alles", None)
    assert (store.clips, store.views, store.phases, store.tubelets, store.width) == (5, 2, 3, 2, 6)
    assert store.bytes == sum(tensor.nbytes for tensor in features)
    for index, view in ((5, 0), (-1, 0), (0, 2)):
        with pytest.raises(IndexError):
            store.read(index, view)


def test_blocks_are_plain_safetensors_with_equal_bytes_for_equal_content(tmp_path: Path) -> None:
    store, features = filled(tmp_path / "a", key_of())
    again, _ = filled(tmp_path / "b", key_of())
    assert [store.path(n).read_bytes() for n in range(3)] == [again.path(n).read_bytes() for n in range(3)]
    assert torch.equal(load_file(store.path(2))["features"], features[4:])


def test_more_blocks_than_may_be_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "OPEN_FILES", 2)
    store, features = filled(tmp_path, key_of())
    for index in (0, 2, 4, 0, 4, 2):
        assert torch.equal(store.read(index, 0), features[index, 0])
        assert len(store._files) <= 2
    store.close()
    assert torch.equal(store.read(1, 1), features[1, 1])


def read_all(store: FeatureStore, clips: tuple[int, ...]) -> None:
    for index in clips:
        for view in range(store.views):
            store.read(index, view)


def test_flipped_bits_of_a_block_are_found(tmp_path: Path) -> None:
    store, _ = filled(tmp_path, key_of())
    path = store.path(1)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        fresh = open_store(tmp_path)
        with pytest.raises(DataError, match=r"block-000001.*features check"):
            read_all(fresh, (2, 3))
        fresh.read(0, 0)


@pytest.mark.parametrize("length", [0, 5, 100, 0.5, -1])
def test_a_block_that_was_cut_short_is_named(tmp_path: Path, length: float) -> None:
    store, _ = filled(tmp_path, key_of())
    path = store.path(2)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(length * len(whole)) if length == 0.5 else int(length)])
    with pytest.raises(DataError, match="block-000002"):
        open_store(tmp_path).read(4, 0)


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error_and_no_crash(tmp_path: Path) -> None:
    store, _ = filled(tmp_path, key_of())
    store.read(0, 0)
    store.read(1, 1)
    store.path(0).write_bytes(store.path(0).read_bytes()[:-20])
    with pytest.raises(DataError, match="ends early"):
        store.read(1, 1)


def test_blocks_of_another_place_or_store_are_refused(tmp_path: Path) -> None:
    store, _ = filled(tmp_path / "a", key_of())
    other, _ = filled(tmp_path / "b", key_of(seed=7))
    whole = store.path(0).read_bytes()
    for wrong in (store.path(1), other.path(0)):
        shutil.copy(wrong, store.path(0))
        with pytest.raises(DataError, match="belongs here"):
            open_store(tmp_path / "a").read(0, 0)
    store.path(0).write_bytes(whole)
    open_store(tmp_path / "a").read(0, 0)


def test_a_missing_block_makes_a_store_unfinished(tmp_path: Path) -> None:
    store, _ = filled(tmp_path, key_of())
    store.path(1).unlink()
    fresh = open_store(tmp_path)
    assert fresh.missing() == [1]
    assert not fresh.complete
    with pytest.raises(DataError, match=r"block-000001.*missing"):
        fresh.read(2, 0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": {}}', '{"key": 3, "layout": {"clips_per_block": 1}}'])
def test_a_card_that_cannot_be_read_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(UsageError, match=r"store\.json"):
        open_store(tmp_path)


def test_a_folder_without_a_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kinelite features make"):
        open_store(tmp_path / "nothing")


def test_a_store_is_only_continued_by_what_made_it(tmp_path: Path) -> None:
    filled(tmp_path, key_of())
    with pytest.raises(UsageError, match="seed: 0 there, 1 now"):
        begin_store(tmp_path, key_of(seed=1), MANIFEST)
    assert begin_store(tmp_path, key_of(), MANIFEST, clips_per_block=5).layout.clips_per_block == 2


def test_blocks_are_small_and_many(tmp_path: Path) -> None:
    base = key_of(clips=240_000, width=768, spec=replace(SPEC, frames=64), phases=1, views=4)
    assert choose_layout(base).clips_per_block == 32
    assert choose_layout(replace(base, clips=60)).clips_per_block == 1
    assert choose_layout(replace(base, spec=replace(SPEC, frames=4096))).clips_per_block == 1
    assert choose_layout(replace(base, clips=640)).blocks(640) == 64
