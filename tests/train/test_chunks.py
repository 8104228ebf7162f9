"""Frozen encoding in chunks: the features of the whole clip at once, from few frames at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import kinelite as kl
from kinelite import recipes
from kinelite.config import MemoryConfig, NetConfig, OptimConfig
from kinelite.errors import UsageError
from kinelite.models import create_model
from kinelite.records import read_jsonl
from kinelite.train import chunks
from kinelite.train.chunks import (
    bare,
    choose_chunk,
    choose_pass_chunk,
    clip_logits,
    encode_in_chunks,
    encode_piece,
    model_input,
)
from kinelite.train.mix import Mix, Piece, micro_batches
from kinelite.train.stage import freeze, train_mode
from kinelite.train.step import mixed_video, normalise

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def nano() -> Any:
    torch.manual_seed(0)
    return create_model("vivit_fe_nano", num_classes=5, frames=16, size=32, net=NetConfig(tubelet=2)).eval()


def clips(count: int = 3, frames: int = 16, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, 3, frames, size, size), dtype=torch.uint8)


def seen(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames in each call of the encoder from now on."""
    counts: list[int] = []
    encode = model.encode

    def note(video: Tensor) -> Tensor:
        counts.append(video.shape[0] * video.shape[2])
        assert not torch.is_grad_enabled()
        return encode(video)

    monkeypatch.setattr(model, "encode", note)
    return counts


@pytest.mark.parametrize("chunk", [0, 2, 6, 16, 32, 1000])
def test_features_are_those_of_the_whole_clip(nano: Any, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = clips()
    with torch.no_grad():
        expected = nano.encode(normalise(frames, nano.spec, CPU))
    counts = seen(nano, monkeypatch)
    found = encode_in_chunks(nano, frames, nano.spec, CPU, chunk)
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=1e-6)
    assert max(counts) <= (chunk or 16)
    assert sum(counts) == 3 * 16
    assert not found.requires_grad


def test_batch_norms_of_a_cnn_per_frame_are_those_of_evaluation() -> None:
    torch.manual_seed(0)
    model: Any = create_model("vtn_eff", num_classes=3, frames=6, size=32)
    freeze(model, ["encoder.*"])
    train_mode(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    frames = clips(2, 6)
    with torch.no_grad():
        expected = model.encode(normalise(frames, model.spec, CPU))
    torch.testing.assert_close(encode_in_chunks(model, frames, model.spec, CPU, 4), expected, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


MIXES = {
    "none": None,
    "mixup": Mix(0.3, torch.tensor([2, 0, 1])),
    "box": Mix(0.8, torch.tensor([2, 0, 1]), (slice(0, 16), slice(3, 17), slice(0, 9))),
    "frames": Mix(0.6, torch.tensor([1, 2, 0]), (slice(5, 11), slice(0, 32), slice(0, 32))),
}


@pytest.mark.parametrize("mix", MIXES.values(), ids=list(MIXES))
@pytest.mark.parametrize("chunk", [2, 8, 32])
def test_mixing_by_chunks_is_mixing_the_clips(nano: Any, mix: Mix | None, chunk: int) -> None:
    piece = next(micro_batches(clips(), torch.zeros(3, 1, dtype=torch.int64), 3, mix))
    with torch.no_grad():
        expected = nano.encode(mixed_video(piece, nano.spec, CPU))
    torch.testing.assert_close(encode_piece(nano, piece, nano.spec, CPU, chunk), expected, atol=5e-6, rtol=1e-6)


def test_a_step_encodes_only_where_the_encoder_is_frozen_as_a_whole(nano: Any) -> None:
    labels = torch.zeros(3, 1, dtype=torch.int64)
    piece = Piece(clips(), labels, None, labels, 1.0)
    freeze(nano, ["encoder.blocks.*"])
    assert model_input(nano, piece, nano.spec, CPU).ndim == 5
    freeze(nano, ["encoder.*"])
    assert model_input(nano, piece, nano.spec, CPU).shape == (3, 8, 96)
    freeze(nano, [])


def test_logits_of_many_views_are_those_at_once(nano: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = clips(12)
    with torch.no_grad():
        expected = nano(normalise(frames, nano.spec, CPU))
    counts = seen(nano, monkeypatch)
    with torch.no_grad():
        torch.testing.assert_close(clip_logits(nano, frames, nano.spec, CPU, 4), expected, atol=1e-5, rtol=1e-5)
    assert set(counts) == {4}


def test_other_models_take_clips_at_once() -> None:
    torch.manual_seed(0)
    model: Any = create_model("x3d_xs", num_classes=3, frames=4, size=64).eval()
    frames = clips(1, 4, 64)
    with torch.no_grad():
        assert torch.equal(clip_logits(model, frames, model.spec, CPU, 2), model(normalise(frames, model.spec, CPU)))


@pytest.mark.parametrize(("asked", "tubelet", "frames"), [(0, 2, 16), (0, 5, 15), (0, 64, 64), (6, 2, 6), (4, 4, 4)])
def test_chunks_hold_whole_tubelets(asked: int, tubelet: int, frames: int) -> None:
    assert choose_chunk(asked, CPU, tubelet) == frames


@pytest.mark.parametrize(
    ("asked", "tubelet", "size", "frames"),
    [
        (0, 2, 224, 16),
        (0, 2, 112, 64),
        (0, 2, 64, 64),
        (0, 5, 160, 25),
        (6, 2, 64, 6),
        (0, 128, 64, 128),
        (0, 2, 448, 16),
    ],
)
def test_a_pass_takes_as_many_pixels_at_a_time_as_full_frames_have(
    asked: int, tubelet: int, size: int, frames: int
) -> None:
    assert choose_pass_chunk(asked, CPU, tubelet, size) == frames
    assert asked or frames <= tubelet or frames * size**2 <= 16 * 224**2 or size > 224


def test_a_gpu_takes_the_same_in_a_pass() -> None:
    assert choose_pass_chunk(0, torch.device("cuda"), 2, 64) == choose_chunk(0, torch.device("cuda"), 2)


def test_a_part_of_a_tubelet_is_refused_before_anything_runs(tmp_path: Path) -> None:
    config = recipes.sfa(data="motion:80", model="vivit_fe_nano", frames=8, size=32, out=tmp_path / "run")
    with pytest.raises(UsageError, match=r"--memory.chunk-frames 6 is no multiple.* 4 frames. Nearest: 4 or 8"):
        kl.train(replace(config, memory=MemoryConfig(chunk_frames=6)))


def test_the_bare_model_is_found_below_its_wrappers() -> None:
    inner = nn.Linear(1, 1)
    assert bare(torch.compile(inner, backend="eager")) is inner
    assert bare(inner) is inner


def test_training_in_chunks_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage 2 with mixup in chunks of one tubelet, and of whole batches: the same losses."""
    losses = []
    for chunk in (4, 10_000):
        small: Any = {"data": "motion:80", "model": "vivit_fe_nano", "frames": 8, "size": 32, "batch": 16, "workers": 0}
        config = recipes.frozen(
            **small, epochs=1, device="cpu", out=tmp_path / str(chunk), optim=OptimConfig(mixup=0.8)
        )
        monkeypatch.setitem(chunks.CHUNK_FRAMES, "cpu", chunk)
        kl.train(config)
        rows, _ = read_jsonl(tmp_path / str(chunk) / "metrics.jsonl")
        losses.append([row["loss"] for row in rows if row["event"] == "step"])
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), atol=1e-5, rtol=1e-5)
