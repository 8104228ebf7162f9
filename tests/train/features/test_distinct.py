"""Equal tubelets of a clip are found, all of them and no others, and encoded once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kinelite.config import NetConfig
from kinelite.models import create_model
from kinelite.train.chunks import encode_in_chunks
from kinelite.train.features.distinct import distinct, encode_distinct, first_equal, views_to_encode

CPU = torch.device("cpu")


def views_of(moments: list[list[int]], size: int = 32, seed: int = 0) -> Tensor:
    """Views [v, c, t, h, w] that look at these frames of a clip of noise."""
    clip = np.random.default_rng(seed).integers(256, size=(3, 64, size, size), dtype=np.uint8)
    return torch.from_numpy(np.stack([clip[:, times] for times in moments]))


@pytest.mark.parametrize("tubelet", [1, 2])
def test_the_first_equal_tubelet_is_named(tubelet: int) -> None:
    drawn = np.random.default_rng(1).integers(6, size=(3, 8))
    found = first_equal(views_of(np.sort(drawn).tolist()), tubelet)
    tubelets = [tuple(pair) for pair in np.sort(drawn).reshape(-1, tubelet)]
    assert found.reshape(-1).tolist() == [tubelets.index(pair) for pair in tubelets]
    assert len(set(found.reshape(-1))) < found.size


def test_one_pixel_that_the_search_does_not_look_at_is_a_difference() -> None:
    views = views_of([[0, 1, 2, 3], [0, 1, 2, 3]])
    assert first_equal(views, 2).tolist() == [[0, 1], [0, 1]]
    views[1, 2, 1, 5, 7] ^= 1
    assert first_equal(views, 2).tolist() == [[0, 1], [2, 1]]


def test_clips_do_not_share() -> None:
    clip = views_of([[0, 1, 0, 1], [0, 1, 2, 3]])
    numbers, places = distinct(torch.stack([clip, clip]), 2)
    assert numbers.tolist() == [0, 3, 4, 7]
    assert places.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]


def test_views_to_encode_are_counted_in_first_views() -> None:
    assert views_to_encode(views_of([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]), 2) == 3
    assert views_to_encode(views_of([[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 3]]), 2) == 1.5
    assert views_to_encode(views_of([[0, 1, 0, 1], [0, 1, 2, 3]]), 2) == 2


@pytest.mark.parametrize("name", ["vivit_fe_nano", "vtn:test_resnet"])
@pytest.mark.parametrize("chunk", [0, 4])
def test_features_are_those_of_all_views_at_less_work(name: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    size = None if "test_" in name else 32
    model: Any = create_model(name, num_classes=2, frames=8, size=size, net=NetConfig()).eval()
    moments = [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 6, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]]
    frames = torch.stack([views_of(moments, model.spec.size, seed) for seed in (0, 1)])
    expected = encode_in_chunks(model, frames.flatten(0, 1), model.spec, CPU, chunk)
    seen: list[int] = []
    encode = model.encode

    def counted(video: Tensor) -> Tensor:
        seen.append(video.shape[0] * video.shape[2])
        assert not chunk or seen[-1] <= chunk
        return encode(video)

    monkeypatch.setattr(model, "encode", counted)
    found = encode_distinct(model, frames, model.spec, CPU, chunk)
    assert found.shape[:2] == (2, 3)
    torch.testing.assert_close(found.flatten(0, 1), expected, atol=1e-5, rtol=1e-5)
    frames_in_all = frames.shape[0] * frames.shape[1] * frames.shape[3]
    # Beside the eight frames of view 0 the tubelet that ends 4, 6 or 4, 6, 6, 7; single frames are all known.
    assert sum(seen) == 2 * {1: 8, 2: 10, 4: 12}[model.tubelet] < frames_in_all


def test_clips_that_repeat_nothing_are_encoded_as_ever() -> None:
    model: Any = create_model("vivit_fe_nano", num_classes=2, frames=8, size=32).eval()
    frames = torch.stack([views_of([list(range(8)), list(range(8, 16))], seed=seed) for seed in (0, 1)])
    expected = encode_in_chunks(model, frames.flatten(0, 1), model.spec, CPU)
    assert torch.equal(encode_distinct(model, frames, model.spec, CPU).flatten(0, 1), expected)
