"""kinelite predict: files, folders, patterns, tables; sampling and normalisation from the checkpoint."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from kinelite.data.dataset import view_frames
from kinelite.data.manifest import Row
from kinelite.train.step import normalise
from kinelite.train.trained import load_trained

CPU = ("--device", "cpu")


@pytest.fixture
def few(clip_folder: Path, tmp_path: Path) -> Path:
    """A folder in a folder with three clips and a text."""
    inner = tmp_path / "clips" / "inner"
    inner.mkdir(parents=True)
    for number in range(3):
        shutil.copy(clip_folder / "moves_down" / f"{number}.mp4", inner / f"{number}.mp4")
    (inner / "notes.txt").write_text("x")
    return tmp_path / "clips"


def names(done: Any) -> list[str]:
    return [Path(p["path"]).name for p in done.json["predictions"]]


def test_files_folders_and_patterns_in_that_order_each_once(kinelite: Any, run_folder: Path, few: Path) -> None:
    given = (few / "inner" / "2.mp4", few, few / "inner" / "[01].mp4")
    done = kinelite("predict", run_folder, *given, *CPU, "--json")
    assert done.code == 0, done.err
    assert names(done) == ["2.mp4", "0.mp4", "1.mp4"]
    assert done.json["scored"] == done.json["clips"] == 3
    done = kinelite("predict", run_folder, str(few / "**" / "*.mp4"), *CPU, "--json")
    assert names(done) == ["0.mp4", "1.mp4", "2.mp4"]


def test_the_labels_are_those_of_the_model_with_the_frames_of_its_training(
    kinelite: Any, run_folder: Path, few: Path
) -> None:
    path = str(few / "inner" / "1.mp4")
    done = kinelite("predict", run_folder, path, *CPU, "--json")
    trained = load_trained(run_folder)
    with safe_open(run_folder / "model.safetensors", framework="pt") as file:
        spec = json.loads(file.metadata()["kinelite"])["spec"]
    assert (spec["frames"], spec["size"]) == (8, 32)
    video = torch.from_numpy(np.stack(view_frames(Row(path, (0,), "x"), trained.spec, (1, 1)))).transpose(1, 2)
    with torch.no_grad():
        shares = trained.model(normalise(video, trained.spec, torch.device("cpu"))).softmax(-1)[0]
    found = {item["label"]: item["probability"] for item in done.json["predictions"][0]["labels"]["label"]}
    assert found == pytest.approx(dict(zip(trained.tasks["label"], shares.tolist(), strict=True)), abs=1e-6)


def test_top_is_the_number_of_labels_best_first(kinelite: Any, run_folder: Path, few: Path) -> None:
    one = kinelite("predict", run_folder, few, "--top", 1, *CPU, "--json").json["predictions"]
    many = kinelite("predict", run_folder, few, "--top", 99, *CPU, "--json").json["predictions"]
    for a, b in zip(one, many, strict=True):
        shares = [item["probability"] for item in b["labels"]["label"]]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) == 2
        assert a["labels"]["label"] == b["labels"]["label"][:1]
    kinelite("predict", run_folder, few, "--top", 0, *CPU).failed(2, "--top 0", "at least 1")


def test_a_bad_clip_among_good_ones_is_named_and_the_others_labelled(
    kinelite: Any, run_folder: Path, few: Path
) -> None:
    (few / "inner" / "empty.mp4").write_bytes(b"")
    missing = few / "missing.mp4"
    done = kinelite("predict", run_folder, few, missing, *CPU, "--json", "--csv", few / "t.csv")
    assert done.code == 4
    assert "Traceback" not in done.err
    assert names(done) == ["0.mp4", "1.mp4", "2.mp4", "empty.mp4", "missing.mp4"]
    assert (done.json["scored"], done.json["clips"]) == (3, 5)
    problems = {Path(p["path"]).name: p["problem"] for p in done.json["predictions"]}
    assert "empty.mp4" in problems["empty.mp4"]
    assert "missing.mp4" in problems["missing.mp4"]
    assert problems["0.mp4"] is None
    assert "3 of 5 clips labelled" in done.out
    with (few / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["rank"] for r in rows] == ["1", "2"] * 3 + ["", ""]
    assert all(r["problem"] for r in rows[-2:])
    assert sum(float(r["probability"]) for r in rows[:2]) == pytest.approx(1, abs=1e-5)


def test_only_bad_clips(kinelite: Any, run_folder: Path, tmp_path: Path) -> None:
    done = kinelite("predict", run_folder, tmp_path / "nothing.mp4", *CPU)
    assert done.code == 4
    assert "0 of 1 clips labelled" in done.out


@pytest.mark.parametrize("given", ["*.mov", "empty"])
def test_a_pattern_or_folder_without_a_video_is_not_passed_over(
    kinelite: Any, run_folder: Path, few: Path, given: str
) -> None:
    (few / "empty").mkdir()
    kinelite("predict", run_folder, few / "inner" / "0.mp4", few / given, *CPU).failed(4, "No video found", given)


def test_names_that_are_not_text_survive(kinelite: Any, run_folder: Path, few: Path) -> None:
    odd = few / os.fsdecode(b"caf\xe9 [1].mp4")
    try:
        shutil.copy(few / "inner" / "0.mp4", odd)
    except OSError:
        pytest.skip("this file system takes no such names")
    done = kinelite("predict", run_folder, odd, *CPU, "--csv", few / "t.csv")
    assert done.code == 0, done.err
    assert b"caf\xe9 [1].mp4" in (few / "t.csv").read_bytes()


def test_a_weight_file_alone_is_enough(kinelite: Any, run_folder: Path, few: Path, tmp_path: Path) -> None:
    alone = tmp_path / "mine.safetensors"
    shutil.copy(run_folder / "model.safetensors", alone)
    a = kinelite("predict", alone, few, *CPU, "--json").json["predictions"]
    b = kinelite("predict", run_folder, few, *CPU, "--json").json["predictions"]
    assert a == b


def test_what_is_not_a_trained_model(kinelite: Any, few: Path, tmp_path: Path) -> None:
    kinelite("predict", tmp_path / "nowhere", few, *CPU).failed(2, "No trained model", "there are: ", "kinelite train")
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    kinelite("predict", tmp_path / "begun", few, *CPU).failed(2, "unfinished")
    (tmp_path / "w.pt").write_bytes(b"PK")
    kinelite("predict", tmp_path / "w.pt", few, *CPU).failed(2, "no weight file", "safetensors")
    (tmp_path / "half.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    kinelite("predict", tmp_path / "half.safetensors", few, *CPU).failed(2, "not a whole safetensors file")


def test_weights_without_what_a_prediction_needs(kinelite: Any, few: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    kinelite("predict", tmp_path / "w.safetensors", few, *CPU).failed(2, "not what a prediction needs", "--pretrained")


@pytest.mark.parametrize("views", ["4", "0x1", "axb", "1x1x1"])
def test_views_that_are_no_views(kinelite: Any, run_folder: Path, few: Path, views: str) -> None:
    kinelite("predict", run_folder, few, "--views", views, *CPU).failed(2, views, "4x3")


def test_an_unknown_precision_or_device(kinelite: Any, run_folder: Path, few: Path) -> None:
    kinelite("predict", run_folder, few, *CPU, "--precision", "fp8").failed(2, "fp8", "fp16")
    kinelite("predict", run_folder, few, "--device", "gpu").failed(2, "gpu", "doctor")
