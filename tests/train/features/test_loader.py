"""Which stored vectors an epoch sees, in which order, and that clips that cannot be read are left out by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from kinelite.data.manifest import Manifest, Row
from kinelite.train.features.block import block_name, write_block
from kinelite.train.features.key import Key
from kinelite.train.features.loader import FeatureLoader, drawn_phases, drawn_views, feature_loader
from kinelite.train.features.store import FeatureStore, begin_store
from kinelite.types import InputSpec

CLIPS, TUBELETS, WIDTH = 10, 4, 3
MakeStore = Callable[..., FeatureStore]


def manifest() -> Manifest:
    rows = tuple(Row(f"{i}.mp4", (i % 2, i % 5), "train") for i in range(CLIPS))
    return Manifest("set", {"verb": ("a", "b"), "noun": tuple("abcde")}, rows)


@pytest.fixture
def make(tmp_path: Path) -> MakeStore:
    """A store whose vectors say what they are: (clip, view, position), position = tubelet * phases + phase."""

    def store(views: int = 1, phases: int = 1, broken: tuple[int, ...] = ()) -> FeatureStore:
        vectors = TUBELETS * phases
        grid = torch.meshgrid(torch.arange(CLIPS), torch.arange(views), torch.arange(vectors), indexing="ij")
        features = torch.stack(grid, -1).half()
        key = Key(
            "w", "m", None, None, 2, WIDTH, InputSpec(2 * TUBELETS, 32), "d", CLIPS, views, phases, precision="fp16"
        )
        found = begin_store(tmp_path, key, manifest(), 4)
        for number in range(3):
            clips = found.layout.clips_of(number, CLIPS)
            name = f"{key.digest()}.{number}"
            problems = {clip - clips.start: f"{clip}.mp4: cut short" for clip in clips if clip in broken}
            write_block(tmp_path / block_name(number), features[clips.start : clips.stop], problems, name)
        return found

    return store


def test_every_view_is_shown_once_in_as_many_epochs() -> None:
    for views in (1, 2, 5):
        for cycle in range(3):
            drawn = np.stack([drawn_views(50, views, 7, cycle * views + place) for place in range(views)])
            assert (np.sort(drawn, axis=0) == np.arange(views)[:, None]).all()


def test_orders_of_views_differ_between_clips_rounds_and_seeds_and_all_are_as_likely() -> None:
    first = np.stack([drawn_views(6000, 3, 1, epoch) for epoch in range(3)])
    orders, counts = np.unique(first, axis=1, return_counts=True)
    assert orders.shape[1] == 6
    assert chisquare(counts).pvalue > 0.01
    assert not np.array_equal(first[0], drawn_views(6000, 3, 1, 3)), "the next round has another order"
    assert not np.array_equal(first[0], drawn_views(6000, 3, 2, 0))


def test_moments_are_drawn_for_each_tubelet_apart() -> None:
    drawn = drawn_phases((2000, 4), 3, 1, 0)
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 81
    assert chisquare(counts).pvalue > 0.01
    assert np.array_equal(drawn, drawn_phases((2000, 4), 3, 1, 0))
    assert not np.array_equal(drawn, drawn_phases((2000, 4), 3, 1, 1))


def seen(loader: FeatureLoader, epoch: int, start: int = 0) -> dict[int, torch.Tensor]:
    loader.batches.seek(epoch, start)
    found: dict[int, torch.Tensor] = {}
    for batch in loader:
        assert batch.features is not None
        assert batch.features.dtype == torch.float16
        assert torch.equal(batch.labels, torch.tensor([[i % 2, i % 5] for i in batch.indices]))
        found |= dict(zip(batch.indices, batch.features, strict=True))
    return found


def test_a_training_epoch_shows_each_clip_in_one_view_at_drawn_moments(make: MakeStore) -> None:
    store = make(views=3, phases=3)
    loader = feature_loader(store, manifest(), 4, shuffle=True, seed=5)
    assert len(loader) == 3
    shown = [seen(loader, epoch) for epoch in range(3)]
    for epoch, found in enumerate(shown):
        assert sorted(found) == list(range(CLIPS))
        assert list(found) != sorted(found), "shuffled"
        views, phases = drawn_views(CLIPS, 3, 5, epoch), drawn_phases((CLIPS, TUBELETS), 3, 5, epoch)
        for clip, vectors in found.items():
            assert vectors.shape == (TUBELETS, WIDTH)
            assert vectors[:, 0].tolist() == [clip] * TUBELETS
            assert vectors[:, 1].tolist() == [views[clip]] * TUBELETS
            assert vectors[:, 2].tolist() == (np.arange(TUBELETS) * 3 + phases[clip]).tolist()
    assert all({int(found[clip][0, 1]) for found in shown} == {0, 1, 2} for clip in range(CLIPS))


def test_an_epoch_continued_in_its_middle_is_the_rest_of_the_same_epoch(make: MakeStore) -> None:
    loader = feature_loader(make(views=2, phases=3), manifest(), 4, shuffle=True, seed=5)
    whole, rest = seen(loader, 4), seen(loader, 4, start=2)
    assert list(rest) == list(whole)[8:]
    assert all(torch.equal(rest[clip], whole[clip]) for clip in rest)


def test_without_a_seed_the_test_sample_in_order(make: MakeStore) -> None:
    loader = feature_loader(make(views=3, phases=5), manifest(), 4, shuffle=False)
    for epoch in (0, 1):
        found = seen(loader, epoch)
        assert list(found) == list(range(CLIPS))
        assert all(vectors[:, 1].tolist() == [0] * TUBELETS for vectors in found.values())
        assert all(vectors[:, 2].tolist() == [2, 7, 12, 17] for vectors in found.values())


def test_clips_that_could_not_be_decoded_are_left_out_with_their_reason(make: MakeStore) -> None:
    loader = feature_loader(make(views=2, broken=(1, 4, 5, 6, 7)), manifest(), 4, shuffle=False)
    batches = list(loader)
    assert [batch.indices for batch in batches] == [[0, 2, 3], [], [8, 9]]
    assert batches[1].features is None
    assert batches[0].skipped == [(1, "1.mp4: cut short")]
    assert [index for index, _ in batches[1].skipped] == [4, 5, 6, 7]
    assert loader.wait_s > 0
