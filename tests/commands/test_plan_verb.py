"""kinelite plan: what it prints, its JSON, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kinelite.commands.train_ import read_config

NANO = ("vivit_fe_nano", "--size", "64", "--gpu-memory", "12GiB")


@pytest.fixture(autouse=True)
def traces(plan_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINELITE_CACHE", str(plan_cache))


def test_a_plan_on_one_page_and_as_json(kinelite: Any) -> None:
    done = kinelite("plan", *NANO, "--recipe", "sfa", "--data", "kinetics400", "--json")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "Planning 'vivit_fe_nano' with recipe 'sfa' for a GPU: 12 GiB."
    assert "246,534 training clips of kinetics400, as published" in lines[1]
    assert "of which 1 are taken by the process" in lines[1]
    assert any(line.startswith("Stage 2 'long': 32 frames of 64 px, batch 16") for line in lines)
    assert lines[-2].startswith("It fits. Next: kinelite train sfa --model vivit_fe_nano")
    short, long = done.json["stages"]
    assert (short["frames"], long["frames"]) == (8, 32)
    assert short["max_batch"] >= short["batch"]
    assert long["features_gib"] > 0
    assert {cell["frames"] for cell in long["table"]} >= {8, 16, 32, 64, 128}


def test_what_does_not_fit_and_what_would(kinelite: Any) -> None:
    done = kinelite(
        *("plan", "vivit_fe_nano", "--recipe", "conventional", "--gpu-memory", "400MiB", "--size", "128"),
        *("--outside", "300MiB", "--frames", "64", "--batch", "4", "--no-table", "--json"),
    )
    assert done.code == 0, done.err
    assert "DOES NOT FIT" in done.out
    assert "It does not fit as it is. Next: kinelite train conventional" in done.out
    (stage,) = done.json["stages"]
    assert not stage["fits"]
    assert any(remedy["fits"] and remedy["same_result"] for remedy in stage["remedies"])
    assert stage["table"] == []


def test_flags_of_training_hold(kinelite: Any) -> None:
    done = kinelite(
        *("plan", *NANO, "--recipe", "frozen", "--frames", "64", "--batch", "8", "--features.mode", "online"),
        *("--clips", "100", "--classes", "5", "--no-table", "--precision", "fp16", "--json"),
    )
    (stage,) = done.json["stages"]
    assert (stage["frames"], stage["batch"], stage["stored"]) == (64, 8, False)
    assert (done.json["clips"], done.json["precision"]) == (100, "fp16")


def test_what_is_refused(kinelite: Any) -> None:
    kinelite("plan").failed(2, "Which model?", "kinelite plan MODEL")
    kinelite("plan", "--gpu-memory", "12GiB").failed(2, "The model comes first")
    kinelite("plan", "vivit_fe_nano", "--gpu-memory", "12").failed(2, "--gpu-memory 12", "12GiB")
    kinelite("plan", "vivit_fe_nan", "--gpu-memory", "12GiB").failed(2, "vivit_fe_nano")
    kinelite("plan", *NANO, "--recipe", "sfaa").failed(2, "sfaa", "Nearest: sfa")
    kinelite("plan", *NANO, "--model", "x3d_xs").failed(2, "Two models")
    kinelite("plan", *NANO, "--cpu-memory", "8GiB").failed(2, "--cpu-memory")
    kinelite("plan", *NANO, "--clips", "0").failed(2, "--clips 0")
    kinelite("plan", "vivit_fe_nano", "--gpu", "voodoo").failed(2, "voodoo")
    kinelite("plan", *NANO, "--calibrate").failed(2, "--calibrate")
    kinelite("plan", "x3d_xs", "--recipe", "sfa", "--gpu-memory", "12GiB").failed(2, "x3d_xs")
    assert kinelite("plan", *NANO, "--framse", "8").code == 2


def test_batch_auto_is_the_recipes_batch_in_as_many_passes_as_it_takes(kinelite: Any) -> None:
    for flags in (["--batch", "auto"], ["--batch=auto"], ["--micro-batch", "auto"]):
        config = read_config(["sfa", *flags]).resolved()
        assert config.batch == 16
        assert [stage.micro_batch for stage in config.stages] == ["auto", "auto"]
    card = read_config(["vivit_12gb", "--batch", "auto"]).resolved()
    assert (card.batch, card.stages[0].micro_batch) == (128, "auto")


def test_train_with_batch_auto_and_again(kinelite: Any, small: Any, clip_folder: Path, tmp_path: Path) -> None:
    flags = [flag for flag in small if flag not in ("--batch", "4")]
    flags[flags.index("--frames") :] = ["--frames", "4", "--epochs", "1", "--keep.strips", "0"]
    command = ("train", "conventional", "--data", f"folder:{clip_folder}", *flags, "--batch", "auto")
    done = kinelite(*command, "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    assert "of 16 clips at a time: planned to take" in done.err
    # The same command on a finished run finds it.
    assert kinelite(*command, "--out", tmp_path / "run", "--json").json == done.json
