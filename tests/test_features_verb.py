"""kinelite features make, check and export from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinelite import cli
from kinelite.models import create_model
from kinelite.models.weights import save_weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_weights(path, create_model("vivit_fe_nano", num_classes=5, frames=8, size=32))
    return path


def call(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON line, and everything else that was printed."""
    code = cli.main([*args, "--json"])
    printed = capsys.readouterr()
    lines = printed.out.strip().splitlines()
    found = json.loads(lines[-1]) if code in (0, 4) else {}
    return code, found, printed.out + printed.err


def test_make_check_mend_and_export(
    clip_folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, exported = tmp_path / "features", tmp_path / "exported"
    make = ["features", "make", "vivit_fe_nano", "--pretrained", str(weights), "--data", f"folder:{clip_folder}"]
    make += ["--frames", "8", "--size", "32", "--views", "2", "--out", str(out), "--device", "cpu", "--workers", "0"]
    code, made, text = call(capsys, *make)
    assert code == 0
    train, val = made["splits"]["train"], made["splits"]["val"]
    assert (train["views"], val["views"], train["width"], train["tubelets"]) == (2, 1, 96, 2)
    assert train["clips"] + val["clips"] == 12
    assert "to read a clip's views" in text
    code, checked, text = call(capsys, "features", "check", str(out))
    assert (code, checked["stores"]["train"]["damaged"]) == (0, [])

    block = out / "train" / "block-000001.safetensors"
    whole = block.read_bytes()
    block.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, checked, text = call(capsys, "features", "check", str(out), "--mend")
    assert code == 4
    assert checked["stores"]["train"]["deleted"] == [block.name]
    assert not block.exists()
    code, _, text = call(capsys, "features", "export", str(out), "--out", str(exported))
    assert code == 2
    assert "unfinished" in text
    code, _, text = call(capsys, *make)
    assert code == 0
    assert f"{train['clips'] - 1} of them are in" in text
    assert block.read_bytes() == whole

    code, written, _ = call(capsys, "features", "export", str(out), "--out", str(exported), "--format", "npy")
    assert code == 0
    assert np.load(written["files"]["train"][0]).shape == (train["clips"], 2, 2, 96)
    code, _, text = call(capsys, *make, "--seed", "1")
    assert code == 2
    assert "seed: 0 there, 1 now" in text


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["vivit_fe_nano"], "--pretrained hub"),
        (["x3d_xs", "--pretrained", "WEIGHTS"], "vivit_fe_*"),
        (["vivit_fe_nano", "--pretrained", "WEIGHTS"], "--data folder:ROOT"),
        (["WEIGHTS", "--size", "32"], "named with --pretrained"),
        (["vivit_fe_nano", "--pretrained", "WEIGHTS", "--workers", "-2"], "--workers -2"),
        (["vivit_fe_nano", "--pretrained", "WEIGHTS", "--limit-s", "0"], "--limit-s"),
        (["vivit_fe_nano", "--pretrained", "WEIGHTS", "--data", "motion:80", "--on", "test"], "no split 'test'"),
        (["vivit_fe_nano", "--pretrained", "WEIGHTS", "--data", "motion:80", "--phases", "2"], "odd number"),
    ],
)
def test_what_cannot_be_meant_is_told(
    args: list[str], told: str, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = [str(weights) if arg == "WEIGHTS" else arg for arg in args]
    code, _, text = call(capsys, "features", "make", *args, "--out", str(tmp_path / "out"), "--device", "cpu")
    assert code == 2
    assert told in text
    assert not (tmp_path / "out").exists()


def test_help_and_unknown_actions(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["features"]) == 2
    assert cli.main(["features", "chekc"]) == 2
    assert "Nearest: check" in capsys.readouterr().err
