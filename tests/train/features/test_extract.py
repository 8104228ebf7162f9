"""The pass: what it stores is what the encoder gives for the views that evaluation and training see."""

from __future__ import annotations

import errno
import os
import resource
import signal
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinelite import records
from kinelite.config import NetConfig, SplitConfig
from kinelite.data.dataset import ClipDataset, Sample, train_frames, view_frames
from kinelite.data.manifest import Manifest, Row
from kinelite.data.sets import load_set
from kinelite.errors import DataError, RunError, SetupError, UsageError
from kinelite.models import create_model
from kinelite.train.features import claims as claiming
from kinelite.train.features import extract as extracting
from kinelite.train.features.claims import Claims
from kinelite.train.features.extract import Means, extract, still
from kinelite.train.features.key import Key, make_key
from kinelite.train.features.store import FeatureStore, open_store
from kinelite.train.interrupted import Interrupted, stop_signals
from kinelite.train.step import normalise

MODELS = [
    ("vivit_fe_nano", NetConfig()),
    ("vivit_fe_nano", NetConfig(pool="both")),
    ("vivit_fe:test_vit", NetConfig(tubelet=1)),
    ("vtn:test_resnet", NetConfig()),
]


@pytest.fixture
def manifest(clip_folder: Path) -> Manifest:
    whole = load_set(f"folder:{clip_folder}", SplitConfig())
    return replace(whole, rows=whole.rows[:4])


def model_of(name: str = "vivit_fe_nano", net: NetConfig | None = None) -> Any:
    torch.manual_seed(0)
    size = None if "test_" in name else 32
    return create_model(name, num_classes=2, frames=8, size=size, net=net or NetConfig()).eval()


def key_of(model: Any, manifest: Manifest, **options: Any) -> Key:
    given: dict[str, Any] = {"net": NetConfig(), "views": 2, "policy": "flip", "seed": 3, "precision": "fp32"}
    return make_key(model, manifest, **given | options)


def made(manifest: Manifest, folder: Path, means: Means | None = None, **options: Any) -> FeatureStore:
    model = model_of()
    return extract(model, manifest, key_of(model, manifest, **options), folder, means)


@pytest.mark.parametrize(("name", "net"), MODELS)
def test_stored_features_are_those_of_views_read_one_by_one(
    manifest: Manifest, tmp_path: Path, name: str, net: NetConfig
) -> None:
    model = model_of(name, net)
    key = key_of(model, manifest, net=net)
    store = extract(model, manifest, key, tmp_path)
    for index, row in enumerate(manifest.rows):
        rng = np.random.default_rng([3, 1, index])
        views = [view_frames(row, model.spec, (1, 1))[0], train_frames(row, model.spec, "flip", rng)]
        for view, frames in enumerate(views):
            video = normalise(torch.from_numpy(frames.swapaxes(0, 1).copy())[None], model.spec, torch.device("cpu"))
            with torch.no_grad():
                expected = model.encode(video)[0]
            torch.testing.assert_close(store.read(index, view), expected, rtol=1e-4, atol=1e-5)
    assert store.read(0, 0).shape == (8 // model.tubelet, model.width)
    assert not torch.equal(store.read(1, 0), store.read(1, 1))


def test_the_middle_phases_of_the_first_view_are_the_features_of_evaluation(manifest: Manifest, tmp_path: Path) -> None:
    plain = made(manifest, tmp_path / "1")
    fine = made(manifest, tmp_path / "3", phases=3)
    assert fine.read(2, 0).shape == (6, 96)
    torch.testing.assert_close(fine.read(2, 0)[1::3], plain.read(2, 0))
    assert not torch.allclose(fine.read(2, 0)[0::3], plain.read(2, 0))


@pytest.mark.parametrize("means", [Means(workers=2), Means(chunk_frames=4), Means(clips_per_block=3)], ids=str)
def test_the_means_change_nothing_beyond_rounding(manifest: Manifest, tmp_path: Path, means: Means) -> None:
    usual, other = made(manifest, tmp_path / "a"), made(manifest, tmp_path / "b", means)
    for index in range(4):
        torch.testing.assert_close(other.read(index, 1), usual.read(index, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_of_storage(manifest: Manifest, tmp_path: Path, precision: Any) -> None:
    whole = made(manifest, tmp_path / "a").read(0, 1)
    stored = made(manifest, tmp_path / "b", precision=precision).read(0, 1)
    assert torch.equal(stored, whole.to(stored.dtype))


def test_half_precision_of_computing(manifest: Manifest, tmp_path: Path) -> None:
    # One frame per tubelet: with six channels and more, oneDNN's bf16 patch embedding is wrong on some processors.
    model = model_of("vivit_fe:test_vit", NetConfig(tubelet=1))
    found = {}
    for compute in ("fp32", "bf16"):
        key = key_of(model, manifest, net=NetConfig(tubelet=1), compute=compute)
        found[compute] = extract(model, manifest, key, tmp_path / compute).read(0, 1)
    assert found["bf16"].dtype == torch.float32
    assert not torch.equal(found["bf16"], found["fp32"])
    torch.testing.assert_close(found["bf16"], found["fp32"], rtol=0.1, atol=0.1)


def test_a_machine_that_computes_wrongly_in_half_precision_is_found_out(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = extracting.encode_distinct

    def wrong(*arguments: Any) -> torch.Tensor:
        features = encode(*arguments)
        return features.roll(1, -1) if torch.is_autocast_enabled("cpu") else features

    monkeypatch.setattr(extracting, "encode_distinct", wrong)
    with pytest.raises(RunError, match=r"bf16 differ.*fp32"):
        made(manifest, tmp_path, compute="bf16")
    assert len(open_store(tmp_path).missing()) == 4


def test_a_finished_store_is_opened_and_nothing_is_encoded(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(manifest, tmp_path)
    monkeypatch.setattr(extracting, "encode_distinct", None)
    assert made(manifest, tmp_path).complete
    with pytest.raises(UsageError, match="seed: 3 there, 4 now"):
        made(manifest, tmp_path, seed=4)


def test_unreadable_clips_keep_their_place_as_zeros_with_a_reason(manifest: Manifest, tmp_path: Path) -> None:
    rows = (manifest.rows[0], Row("missing.mp4", (0,), "train"), *manifest.rows[1:3])
    store = made(replace(manifest, rows=rows), tmp_path / "a", Means(clips_per_block=4))
    assert list(store.problems()) == [1]
    assert "missing.mp4" in str(store.problem(1))
    assert not store.read(1, 0).any()
    assert store.read(0, 0).any()
    whole = made(manifest, tmp_path / "b", Means(clips_per_block=4))
    torch.testing.assert_close(store.read(2, 0), whole.read(1, 0), rtol=1e-4, atol=1e-5)
    gone = replace(manifest, rows=tuple(replace(row, path="missing.mp4") for row in manifest.rows))
    with pytest.raises(DataError, match="None of 4 clips"):
        made(gone, tmp_path / "c")


def test_a_model_in_training_is_encoded_in_evaluation_mode_and_left_as_it_was(
    manifest: Manifest, tmp_path: Path
) -> None:
    model = model_of("vtn:test_resnet")
    key = key_of(model, manifest)
    expected = extract(model, manifest, key, tmp_path / "a").read(0, 0)
    model.train()
    model.head.eval()
    modes = [module.training for module in model.modules()]
    assert torch.equal(extract(model, manifest, key, tmp_path / "b").read(0, 0), expected)
    assert [module.training for module in model.modules()] == modes
    with still(model):
        assert not any(module.training for module in model.modules())


def test_a_clip_is_gone_before_the_next_one_is_read(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long clip is large, so the pass may hold one of them, and once."""
    alive: weakref.WeakSet[Owned] = weakref.WeakSet()
    others: list[int] = []

    class Owned(np.ndarray):
        """An array of its own memory that a weak set can count."""

        __hash__ = object.__hash__  # type: ignore[assignment]

    real = ClipDataset.__getitem__

    def read(self: ClipDataset, key: Any) -> Sample:
        others.append(len(alive))
        found = real(self, key)
        assert found.frames is not None
        frames = Owned(found.frames.shape, np.uint8)
        frames[:] = found.frames
        alive.add(frames)
        return replace(found, frames=frames)

    monkeypatch.setattr(ClipDataset, "__getitem__", read)
    monkeypatch.setattr(extracting, "READ_BYTES", 1)
    made(manifest, tmp_path)
    assert others == [0] * len(manifest.rows)


def test_a_full_disk_is_a_setup_error_that_keeps_what_is_finished(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, write = [], extracting.write_block

    def until_full(path: Path, *rest: Any) -> None:
        calls.append(path)
        if len(calls) == 3:
            monkeypatch.setattr(records.os, "fsync", _full)
        write(path, *rest)

    monkeypatch.setattr(extracting, "write_block", until_full)
    with pytest.raises(SetupError, match="the disk is full"):
        made(manifest, tmp_path)
    monkeypatch.undo()
    assert len(open_store(tmp_path).missing()) == 2
    assert not list(tmp_path.glob("*.tmp"))
    assert made(manifest, tmp_path).complete


def _full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_system_that_refuses_large_files_is_a_setup_error(manifest: Manifest, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(SetupError, match="File too large"):
            made(manifest, tmp_path, Means(clips_per_block=4), phases=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(made(manifest, tmp_path, phases=3).problems()) == 0


def test_a_store_that_does_not_fit_is_not_begun(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"2 views fit: --features\.views 2"):
        made(manifest, tmp_path, Means(max_disk_gib=7000 / 2**30), views=4)
    assert len(open_store(tmp_path).missing()) == 4


def test_a_stop_ends_the_pass_and_the_next_one_continues(manifest: Manifest, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    model = model_of()
    key = key_of(model, manifest)
    stop: Callable[[], str] = lambda: "SIGTERM" if len(told) > 2 else ""  # noqa: E731
    with pytest.raises(Interrupted, match="Stopped by SIGTERM; 3 of 4 blocks"):
        extract(model, manifest, key, tmp_path, progress=lambda *at: told.append(at), stop=stop)
    extract(model, manifest, key, tmp_path, progress=lambda *at: told.append(at))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4), (4, 4)]


def test_signals_are_noted_once_and_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    said: list[str] = []
    with stop_signals(said.append) as asked:
        assert asked() == ""
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked() == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert said == ["SIGTERM"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_features_that_fp16_cannot_hold_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    model = model_of("vtn:test_resnet")
    with torch.no_grad():
        model.encoder.project.weight.mul_(1e7)
    with pytest.raises(RunError, match=r"more than fp16 can hold.*--features\.precision bf16"):
        extract(model, manifest, key_of(model, manifest, precision="fp16"), tmp_path / "a")
    extract(model, manifest, key_of(model, manifest, precision="bf16"), tmp_path / "b")
    with torch.no_grad():
        model.encoder.project.bias.fill_(float("nan"))
    with pytest.raises(RunError, match="not finite"):
        extract(model, manifest, key_of(model, manifest), tmp_path / "c")


def test_without_locks_one_process_makes_all(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "_locks", None)
    assert made(manifest, tmp_path).complete
    claims = Claims(tmp_path)
    assert not claims.shared
    assert claims.take(0)
    claims.close()
