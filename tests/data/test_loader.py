"""Order, seeking and workers: the samples of an epoch depend on the seed and on nothing else."""

from __future__ import annotations

import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinelite.data.dataset import ClipDataset, Key, Reading, Sample
from kinelite.data.loader import Batch, ClipLoader, EpochBatches, choose_workers, collate, leave_cores, make_loader
from kinelite.data.manifest import Manifest, Row
from kinelite.data.sets import load_set
from kinelite.types import InputSpec


@pytest.fixture(scope="module")
def clips(clip_folder: Path) -> Manifest:
    return load_set(f"folder:{clip_folder}")


def loader(clips: Manifest, workers: int = 0, seed: int = 3, batch: int = 5) -> ClipLoader:
    dataset = ClipDataset(clips, Reading(InputSpec(4, 32), "lightweight_ssv2", seed=seed))
    return make_loader(dataset, batch, shuffle=True, workers=workers, seed=seed)


def epoch(found: ClipLoader, number: int, start: int = 0) -> list[Batch]:
    found.batches.seek(number, start)
    return list(found)


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        x.indices == y.indices and torch.equal(x.labels, y.labels) and torch.equal(x.frames, y.frames)  # type: ignore[arg-type]
        for x, y in zip(a, b, strict=True)
    )


def test_samples_do_not_depend_on_the_number_of_workers(clips: Manifest) -> None:
    alone = loader(clips)
    expected = [epoch(alone, 0), epoch(alone, 1)]
    for workers in (1, 2):
        shared = loader(clips, workers)
        assert same(epoch(shared, 0), expected[0])
        assert same(epoch(shared, 1), expected[1]), "workers that stay must see the next epoch"


def test_seeking_gives_the_tail_of_the_whole_epoch(clips: Manifest) -> None:
    found = loader(clips)
    whole = epoch(found, 4)
    for start in range(len(whole) + 1):
        assert same(epoch(loader(clips), 4, start), whole[start:])


def test_every_clip_comes_once_per_epoch(clips: Manifest) -> None:
    found = loader(clips)
    for number in (0, 1):
        batches = epoch(found, number)
        assert [len(b.indices) for b in batches] == [5, 5, 2]
        assert sorted(i for b in batches for i in b.indices) == list(range(12))
        labels = [clips.rows[i].labels for b in batches for i in b.indices]
        assert torch.cat([b.labels for b in batches]).tolist() == [list(label) for label in labels]
    assert len(found) == 3


def test_epochs_and_seeds_differ(clips: Manifest) -> None:
    orders = {
        (seed, number): tuple(i for part in _keys(seed, number) for i in part) for seed in (0, 1) for number in (0, 1)
    }
    assert len(set(orders.values())) == 4
    dataset = ClipDataset(clips, Reading(InputSpec(4, 32), "lightweight_ssv2", seed=0))
    first, again, next_epoch = (dataset[Key(number, 5)] for number in (0, 0, 1))
    assert np.array_equal(first.frames, again.frames)  # type: ignore[arg-type]
    assert not np.array_equal(first.frames, next_epoch.frames)  # type: ignore[arg-type]


def _keys(seed: int, number: int) -> list[list[int]]:
    batches = EpochBatches(12, 5, seed, shuffle=True)
    batches.seek(number)
    return [[key.index for key in part] for part in batches]


def test_without_shuffling_the_order_is_that_of_the_rows() -> None:
    assert [[key.index for key in part] for part in EpochBatches(5, 2, 0, shuffle=False)] == [[0, 1], [2, 3], [4]]


def test_only_the_time_spent_waiting_is_measured(clips: Manifest) -> None:
    class Slow(ClipDataset):
        def __getitem__(self, key: object) -> object:
            time.sleep(0.02)
            return super().__getitem__(key)  # type: ignore[arg-type]

    found = make_loader(Slow(clips, Reading(InputSpec(4, 32))), 4, shuffle=False, workers=0)
    for _ in found:
        time.sleep(0.3)
    assert 12 * 0.02 <= found.wait_s < 12 * 0.02 + 0.6


def test_skipped_clips_are_named_and_the_others_stay(clips: Manifest, tmp_path: Path) -> None:
    dataset = ClipDataset(clips, Reading(InputSpec(4, 32)))
    good = dataset[0]
    bad = type(good)(7, None, (1,), "b.mp4 is empty")
    batch = collate([bad, good, bad])
    assert batch.indices == [0]
    assert batch.skipped == [(7, "b.mp4 is empty")] * 2
    assert batch.labels.tolist() == [list(good.labels)]
    empty = collate([bad])
    assert empty.frames is None
    assert empty.labels.shape == (0, 1)


def test_workers_asked_for_are_given_and_chosen_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinelite.data.loader.cores_here", lambda: 8)
    assert choose_workers(3, "cpu", 100) == 3
    assert choose_workers(-1, "cpu", 100) == 0
    assert choose_workers(-1, "cuda", 100) == 7
    assert choose_workers(-1, "cuda", 4) == 4


def test_a_model_on_the_cpu_gets_the_cores_that_workers_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinelite.data.loader.cores_here", lambda: 4)
    before = torch.get_num_threads()
    try:
        for workers, device, expected in ((0, "cpu", 4), (3, "cuda", 4), (3, "cpu", 1), (9, "cpu", 1)):
            torch.set_num_threads(4)
            leave_cores(workers, device)
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_a_single_sample_in_its_own_memory_is_not_copied_and_one_of_a_pool_is() -> None:
    own = np.zeros((1, 3, 2, 4, 4), np.uint8)
    batch = collate([Sample(0, own, (1,))])
    assert batch.frames is not None
    assert np.shares_memory(batch.frames.numpy(), own)
    slot = np.zeros((2, 1, 3, 2, 4, 4), np.uint8)
    batch = collate([Sample(0, slot[0], (1,))])
    assert batch.frames is not None
    assert not np.shares_memory(batch.frames.numpy(), slot)


def test_nothing_of_a_batch_lives_on_while_the_next_one_is_read() -> None:
    gone: list[bool] = []
    last: list[weakref.ref[Any]] = []

    class Watching(ClipDataset):
        def __getitem__(self, key: Key | int) -> Sample:
            gone.extend(ref() is None for ref in last)
            frames = np.zeros(self.reading.shape, np.uint8)
            last[:] = [weakref.ref(frames)]
            return Sample(key.index if isinstance(key, Key) else key, frames, (0,))

    rows = tuple(Row(f"{i}.mp4", (0,), "train") for i in range(4))
    watching = Watching(Manifest("x", {"label": ("a", "b")}, rows), Reading(InputSpec(2, 4)))
    for batch in make_loader(watching, 1, shuffle=False, workers=0):
        del batch
    assert gone == [True] * 3
