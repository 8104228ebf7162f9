"""Training on stored features: the same as online where the same is shown, and nothing of it touches a pixel."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinelite.config import ClipConfig, FeaturesConfig, KeepConfig, NetConfig, OptimConfig, Stage, TrainConfig
from kinelite.data import dataset
from kinelite.errors import DataError, UsageError
from kinelite.records import TrainRecord, read_jsonl
from kinelite.train import fit as fit_module
from kinelite.train import job as job_module
from kinelite.train import run as run_module
from kinelite.train.evaluate import score
from kinelite.train.features import use
from kinelite.train.features.loader import FeatureLoader
from kinelite.train.features.tail import Tail
from kinelite.train.job import Interrupted, Job
from kinelite.train.part import Part
from kinelite.train.run import train

SGD = OptimConfig(name="sgd", lr=0.05, warmup_epochs=0.0, schedule="constant")
STORED = FeaturesConfig(mode="stored", views=2)
EXACT = FeaturesConfig(mode="stored", views=1, precision="fp32")


def losses(config: TrainConfig) -> list[float]:
    rows, _ = read_jsonl(config.out / "metrics.jsonl")
    return [row["loss"] for row in rows if row["event"] == "step"]


def validation(config: TrainConfig) -> list[tuple[float, float]]:
    rows, _ = read_jsonl(config.out / "metrics.jsonl")
    return [(row["top1"], row["loss"]) for row in rows if row["event"] == "eval"]


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(config.out / "model.safetensors")


@pytest.mark.parametrize("optim", [SGD, replace(SGD, label_smoothing=0.1, ema=0.9)])
def test_the_same_samples_give_the_same_losses_stored_and_online(
    quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optim: OptimConfig
) -> None:
    """Online training is shown the test sample, which is what a single stored view is."""
    monkeypatch.setattr(dataset, "fill_training", lambda out, row, spec, *_: dataset.fill_views(out, row, spec, (1, 1)))
    stages = (Stage("short", epochs=1), Stage("long", frames=8, epochs=3, freeze=("encoder.*",), adapter=True))
    runs = []
    for features in (EXACT, FeaturesConfig(mode="online")):
        config = quick("sfa", stages=stages, optim=optim, features=features, out=tmp_path / features.mode)
        config = replace(config, net=NetConfig(drop_path=0.2, dropout=0.1), micro_batch=2)
        train(config)
        runs.append(config)
    stored, online = map(losses, runs)
    assert len(stored) == 3 + 9
    assert stored == pytest.approx(online, abs=1e-5)
    assert len({round(loss, 5) for loss in stored}) > 6, "it learns"
    for ours, theirs in zip(*map(validation, runs), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    ends = [weights(config) for config in runs]
    assert max((ends[0][name] - ends[1][name]).abs().max().item() for name in ends[0]) < 1e-5


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-3), ("bf16", 2e-2)])
def test_logits_from_stored_features_are_those_from_pixels(
    quick: Any, monkeypatch: pytest.MonkeyPatch, precision: Any, tolerance: float
) -> None:
    found: list[float] = []
    real = job_module.score_features

    def both(forward: Any, loader: FeatureLoader, manifest: Any, device: torch.device, world: Any) -> Any:
        scores = real(forward, loader, manifest, device, world)
        pixels = score(parts[-1].model, manifest, parts[-1].spec, device)
        assert scores.indices == pixels.indices
        assert torch.equal(scores.labels, pixels.labels)
        assert pixels.logits[0].std() > 0.05, "or the tolerance says nothing"
        found.append((scores.logits[0] - pixels.logits[0]).abs().max().item())
        return scores

    parts = watch_parts(monkeypatch)
    monkeypatch.setattr(job_module, "score_features", both)
    optim = OptimConfig(lr=5e-3, warmup_epochs=0.0, schedule="constant")
    config = quick("frozen", frames=8, epochs=3, optim=optim, features=replace(STORED, precision=precision))
    train(config)
    assert len(found) == 3
    assert max(found) < tolerance
    if precision != "fp32":
        assert max(found) > tolerance / 1000, "the store has the precision that was asked for"


def watch_parts(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    parts, real = [], fit_module.build_part

    def building(*args: Any) -> tuple[Part, str]:
        parts.append(real(*args)[0])
        return parts[-1], "as built"

    monkeypatch.setattr(fit_module, "build_part", building)
    return parts


def test_only_what_trains_is_run_and_every_weight_is_kept(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = watch_parts(monkeypatch)
    config = quick("sfa", frames=8, epochs=2, features=STORED, keep=KeepConfig(every_steps=1, last=99))
    train(config)
    assert [part.stored for part in parts] == [False, True]
    tail = parts[1].forward.module
    assert isinstance(tail, Tail)
    assert {name.split(".")[0] for name, _ in tail.named_parameters()} == {"adapter", "temporal", "head"}
    assert {name.split(".")[0] for name in weights(config)} == {"encoder", "adapter", "temporal", "head"}
    moved = {n for n, p in parts[1].model.named_parameters() if p.requires_grad}
    assert moved == {n for n, _ in tail.named_parameters()}


def test_no_clip_is_read_after_the_pass(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each training clip once for all views, each validation clip once; then the evaluation of the finished run."""
    read: list[str] = []
    real = dataset.read_sample

    def reading(row: Any, *args: Any) -> Any:
        read.append(row.path)
        return real(row, *args)

    monkeypatch.setattr(dataset, "read_sample", reading)
    monkeypatch.setattr(run_module, "save_trained", lambda *_: read.append("end"))
    train(quick("frozen", frames=8, epochs=4, features=STORED, keep=KeepConfig(strips=0)))
    before, after = read[: read.index("end")], read[read.index("end") + 1 :]
    assert len(before) == len(set(before)) == 12
    assert len(after) == 2, "the validation clips, from pixels"


def test_what_the_record_says_of_a_stage(quick: Any, tmp_path: Path) -> None:
    config = quick("sfa", frames=8, epochs=3, features=replace(STORED, phases=3), keep=KeepConfig(eval_epochs=0))
    short, long = train(config).stages
    assert short["features"] is None
    found = long["features"]
    assert (found["mode"], found["reason"], found["views"], found["phases"]) == ("stored", "as asked", 2, 3)
    assert 0 < found["seconds"] <= long["seconds"]
    assert found["gib"] * 2**30 == 10 * 2 * (2 * 3) * 96 * 2, "clips, views, tubelets x phases, width, fp16"
    assert 0 < found["peak_memory_gib"] <= long["peak_memory_gib"]
    folder = Path(found["folder"])
    assert folder == config.out / "features" / "stage-2" / "train"
    assert not (folder.parent / "val").exists(), "nothing was evaluated before the end"
    online = quick("frozen", epochs=1, out=tmp_path / "online")
    assert train(online).stages[0]["features"]["mode"] == "online"


def test_stored_features_are_free_of_the_clips_that_cannot_be_decoded(
    quick: Any, clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "clips"
    shutil.copytree(clip_folder, broken)
    for victim in sorted(broken.rglob("*.mp4"))[:2]:  # a clip of each class is held out
        victim.write_bytes(b"no video")
    clips = ClipConfig(max_skipped=1.0)
    counts = {}
    for mode in ("stored", "online"):
        out = tmp_path / mode
        config = quick("frozen", data=f"folder:{broken}", epochs=3, out=out, clips=clips)
        train(replace(config, features=FeaturesConfig(mode=mode, views=2)))
        rows, _ = read_jsonl(out / "metrics.jsonl")
        counts[mode] = (json.loads((out / "record.json").read_text())["message"], len(rows))
    assert counts["stored"] == counts["online"]
    assert capsys.readouterr().err.count("left out, 1 of") == 2
    for path in broken.rglob("*.mp4"):
        path.write_bytes(b"no video")
    with pytest.raises(DataError, match="can be decoded"):
        train(quick("frozen", data=f"folder:{broken}", out=tmp_path / "none", clips=clips, features=STORED))


@pytest.mark.parametrize(
    ("recipe", "fields", "said"),
    [
        ("conventional", {"features": STORED}, r"no stage of recipe 'conventional' freezes.*sfa, frozen"),
        ("frozen", {"features": STORED, "optim": OptimConfig(cutmix=1.0)}, r"cutmix 1\).*--optim.mixup"),
        ("frozen", {"features": replace(STORED, phases=2)}, "phases 2: an odd number"),
        ("frozen", {"features": FeaturesConfig(phases=4)}, "phases 4: an odd number"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_runs(
    quick: Any, recipe: str, fields: dict[str, Any], said: str
) -> None:
    config = quick(recipe, **fields)
    with pytest.raises(UsageError, match=said):
        train(config)
    assert not (config.out / "metrics.jsonl").exists()


def reason(record: TrainRecord) -> tuple[str, str]:
    found = record.stages[-1]["features"]
    return found["mode"], found["reason"]


def test_auto_measures_and_says_why(quick: Any, capsys: pytest.CaptureFixture[str]) -> None:
    mode, why = reason(train(quick("frozen", epochs=6, features=FeaturesConfig(views=2))))
    assert mode == "stored"
    assert "2 views once" in why
    assert "6 epochs of the encoder" in why
    assert f"stored ({why})" in capsys.readouterr().err


def interrupted_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    real, seen = fit_module.train_step, []

    def stepping(job: Job, *args: Any) -> Any:
        seen.append(0)
        if len(seen) == step:
            job.asked_to_stop = "SIGINT"
        return real(job, *args)

    monkeypatch.setattr(fit_module, "train_step", stepping)


@pytest.mark.parametrize("where", ["step", "pass"])
def test_a_continued_run_never_changes_its_mind(
    quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    fields = {"frames": 8, "epochs": 5, "features": FeaturesConfig(views=2), "optim": OptimConfig(mixup=0.3)}
    whole = quick("frozen", out=tmp_path / "whole", **fields)
    train(whole)
    config = quick("frozen", **fields)
    with monkeypatch.context() as patch:
        if where == "step":
            interrupted_at(patch, 7)
        else:
            real = use.extract

            def extracting(*args: Any) -> Any:
                return real(*args[:-1], lambda: "SIGTERM")

            patch.setattr(use, "extract", extracting)
        with pytest.raises(Interrupted):
            train(config)
    assert (config.out / use.CHOICES).exists()
    monkeypatch.setattr(use, "estimate", lambda *_: pytest.fail("decided again"))
    monkeypatch.setattr(use, "free_bytes", lambda _: 0)
    record = train(config)
    assert reason(record)[0] == "stored"
    assert (config.out / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()
    assert losses(config) == losses(whole)


def test_another_config_in_a_folder_where_nothing_was_learnt_decides_anew(
    quick: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick("frozen", epochs=6, features=FeaturesConfig(views=2))
    with monkeypatch.context() as patch:
        patch.setattr(use, "extract", lambda *_: (_ for _ in ()).throw(Interrupted("Stopped.")))
        with pytest.raises(Interrupted):
            train(config)
    assert reason(train(replace(config, epochs=1)))[0] == "online"


def test_two_runs_share_a_folder_and_a_stale_one_is_refused(quick: Any, tmp_path: Path) -> None:
    shared = replace(STORED, folder=tmp_path / "shared")
    first = quick("frozen", epochs=2, features=shared, out=tmp_path / "a")
    train(first)
    before = {path: path.read_bytes() for path in (tmp_path / "shared").rglob("*") if path.is_file()}
    assert before
    assert not (first.out / "features").exists()
    train(quick("frozen", epochs=3, features=shared, optim=SGD, out=tmp_path / "b"))
    assert {p: p.read_bytes() for p in (tmp_path / "shared").rglob("*") if p.is_file()} == before
    with pytest.raises(UsageError, match="seed: 0 there, 1000 now"):
        train(quick("frozen", epochs=2, features=shared, seed=1, out=tmp_path / "c"))
    assert {p: p.read_bytes() for p in (tmp_path / "shared").rglob("*") if p.is_file()} == before


def test_a_store_that_was_deleted_is_made_again(quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = quick("frozen", epochs=4, features=STORED, out=tmp_path / "whole")
    train(whole)
    config = quick("frozen", epochs=4, features=STORED)
    with monkeypatch.context() as patch:
        interrupted_at(patch, 5)
        with pytest.raises(Interrupted):
            train(config)
    shutil.rmtree(config.out / "features")
    train(config)
    assert (config.out / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()


def test_a_view_of_its_own_for_each_epoch(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    real = fit_module._inputs

    def watching(part: Any, batch: Any) -> Any:
        seen.append(real(part, batch).double().sum().item())
        return real(part, batch)

    monkeypatch.setattr(fit_module, "_inputs", watching)
    config = quick("frozen", epochs=4, batch=16, features=STORED, clips=ClipConfig(policy="none"))
    train(config)
    assert len(set(np.round(seen, 3))) == 4, "which of two views each clip shows differs from epoch to epoch"
    assert seen[0] + seen[1] == pytest.approx(seen[2] + seen[3], rel=1e-6)
