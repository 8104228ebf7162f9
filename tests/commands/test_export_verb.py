"""kinelite export, and kinelite predict with the file that it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run as an ONNX file."""
    from kinelite.export.make import export

    return export(run_folder, "onnx", out=tmp_path_factory.mktemp("out") / "mine.onnx", said=lambda text: None).path


def test_a_run_becomes_a_file_that_labels_clips_like_it(
    kinelite: Any, run_folder: Path, clip_folder: Path, exported: Path
) -> None:
    clips = sorted(clip_folder.rglob("*.mp4"))[:3]
    own = kinelite("predict", run_folder, *clips, "--device", "cpu", "--json")
    other = kinelite("predict", exported, *clips, "--json")
    assert other.code == 0, other.err
    for one, two in zip(own.json["predictions"], other.json["predictions"], strict=True):
        assert one["path"] == two["path"]
        for left, right in zip(one["labels"]["label"], two["labels"]["label"], strict=True):
            assert left["label"] == right["label"]
            assert left["probability"] == pytest.approx(right["probability"], abs=1e-4)


def test_it_says_what_was_verified_and_what_comes_next(kinelite: Any, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "mine.onnx"
    done = kinelite("export", run_folder, "--out", out, "--json")
    assert done.code == 0, done.err
    assert "8 frames of 32 pixels" in done.out
    assert "Verified against PyTorch: largest difference" in done.out
    assert f"kinelite predict {out}" in done.out
    assert done.json["difference"] < 1e-4
    assert done.json["size_mib"] == pytest.approx(out.stat().st_size / 2**20)


def test_int8_is_calibrated_with_clips_and_compared_on_them(
    kinelite: Any, run_folder: Path, clip_folder: Path, tmp_path: Path
) -> None:
    data = ("--data", f"folder:{clip_folder}", "--on", "all")
    done = kinelite("export", run_folder, "--precision", "int8", "--out", tmp_path / "m.onnx", *data, "--json")
    assert done.code == 0, done.err
    assert 0 <= done.json["top1"] <= 1
    assert done.json["clips"] == len(list(clip_folder.rglob("*.mp4")))
    assert done.json["size_mib"] < 0.5 * sum(p.stat().st_size for p in run_folder.glob("model.safetensors")) / 2**20


def test_what_cannot_be_meant(kinelite: Any, run_folder: Path, tmp_path: Path) -> None:
    kinelite("export", "x3d_xss").failed(2, "Unknown model or run 'x3d_xss'. Nearest: x3d_xs", "kinelite list models")
    kinelite("export", "runs/gone").failed(2, "No trained model at 'runs/gone'")
    kinelite("export", run_folder, "--format", "onxx").failed(2, "Unknown format 'onxx'. Nearest: onnx")
    kinelite("export", run_folder, "--precision", "int4").failed(2, "Unknown precision 'int4'. Nearest: int8")
    kinelite("export", run_folder, "--out", "mine.pt").failed(2, "ends in .onnx")
    kinelite("export", run_folder, "--batch", "0").failed(2, "--batch 0")
    kinelite("export", run_folder, "--data", "folder:gone").failed(4, "no folder gone")
    kinelite("export", run_folder, "--size", "64").failed(2, "--size")
    kinelite("predict", tmp_path / "gone.onnx", "a.mp4").failed(2, "No file", "kinelite export")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    kinelite("predict", broken, "a.mp4").failed(2, "damaged")


def test_a_missing_extra_is_named(kinelite: Any, run_folder: Path, exported: Path, monkeypatch: Any) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    kinelite("export", run_folder).failed(3, "onnxruntime not installed", "pip install 'kinelite[onnx]'")
    kinelite("predict", exported, "a.mp4").failed(3, "pip install 'kinelite[onnx]'")


def test_a_file_computes_where_and_as_it_was_written(kinelite: Any, clip_folder: Path, exported: Path) -> None:
    clip = next(clip_folder.rglob("*.mp4"))
    kinelite("predict", exported, clip, "--device", "cuda").failed(2, "--device cuda", "runs on the CPU")
    kinelite("predict", exported, clip, "--precision", "bf16").failed(2, "--precision bf16")


def test_clips_to_score_on_are_looked_at_before_anything_is_written(
    kinelite: Any, run_folder: Path, clip_folder: Path, tmp_path: Path
) -> None:
    data = ("--out", tmp_path / "m.onnx", "--data", f"folder:{clip_folder}")
    kinelite("export", run_folder, *data, "--on", "tset").failed(2, "has no split 'tset'")
    assert list(tmp_path.iterdir()) == []
