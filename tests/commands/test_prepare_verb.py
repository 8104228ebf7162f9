"""kinelite data prepare: what it prints, what it refuses, and that training runs on what it leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from kinelite.commands import data_prepare
from kinelite.data.prepare import estimate as prepare_estimate

NO_WORKERS = ("--workers", "0")


def test_prepare_continue_verify_and_look(kinelite: Any, clip_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    command = ("data", "prepare", f"folder:{clip_folder}", "--out", out, "--short-side", 24, *NO_WORKERS)
    done = kinelite(*command, "--json")
    assert done.code == 0
    assert done.json["made"] == done.json["clips"] == 12
    assert "times the originals" in done.out
    assert "are free" in done.out
    assert f"Next: kinelite train sfa --data store:{out}" in done.out
    again = kinelite(*command, "--json")
    assert again.json["made"] == 0
    assert again.json["format"] == done.json["format"]
    file = next((out / "clips" / "0000").glob("0000004-*"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    verified = kinelite(*command, "--verify", "--json")
    assert verified.json["damaged"] == [str(file)]
    assert verified.json["made"] == 1
    checked = kinelite("data", "check", f"store:{out}", "--json")
    assert (checked.code, checked.json["errors"]) == (0, 0)
    assert kinelite("data", "stats", f"store:{out}", "--json").json["sizes"] == {"24x24": 12}


def test_training_on_a_store(kinelite: Any, clip_folder: Path, small: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "store"
    flags = ("--frames", 4, "--size", 32, "--format", "raw", *NO_WORKERS)
    assert kinelite("data", "prepare", f"folder:{clip_folder}", "--out", out, *flags).code == 0
    runs = []
    for name, spec in (("a", f"store:{out}"), ("b", f"folder:{clip_folder}")):
        run = ("train", "conventional", *small, "--data", spec, "--out", tmp_path / name, "--clips.policy", "none")
        runs.append(kinelite(*run, "--json").json)
    assert runs[0]["top1"] is not None


def test_too_many_broken_originals(kinelite: Any, clip_folder: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(clip_folder, tmp_path / "clips"))
    (root / "moves_down" / "3.mp4").write_bytes(b"noise")
    command = ("data", "prepare", f"folder:{root}", "--out", tmp_path / "store", "--format", "jpeg", *NO_WORKERS)
    done = kinelite(*command, "--json")
    assert done.code == 4
    assert done.json["failed"] == 1
    assert "failed.csv" in done.out
    assert kinelite(*command, "--max-skipped", 0.1).code == 0


def test_what_does_not_fit_is_refused(
    kinelite: Any, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("data", "prepare", f"folder:{clip_folder}", "--out", tmp_path / "store", "--format", "raw", *NO_WORKERS)
    kinelite(*command, "--max-disk-gib", "1e-6").failed(3, "more than --max-disk-gib")
    monkeypatch.setattr(prepare_estimate, "free_bytes", lambda _: 1000)
    kinelite(*command).failed(3, "do not fit", "--force")
    assert not (tmp_path / "store" / "store.json").exists()
    assert kinelite(*command, "--force").code == 0
    kinelite(*command, "--short-side", 8).failed(2, "short_side 256 there, 8 now")


def test_machines_share_a_folder(kinelite: Any, clip_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    command = ("data", "prepare", f"folder:{clip_folder}", "--out", out, *NO_WORKERS, "--shard")
    assert "When all 2 shards are done" in kinelite(*command, "1/2").out
    kinelite("data", "check", f"store:{out}").failed(4, "shard 2/2 is missing")
    assert kinelite(*command, "2/2").code == 0
    assert kinelite("data", "check", f"store:{out}").code == 0


def test_a_share_without_a_good_clip_is_finished_all_the_same(kinelite: Any, clip_folder: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(clip_folder, tmp_path / "clips"))
    (root / "moves_down" / "1.mp4").write_bytes(bytes(1000))
    out = tmp_path / "store"
    command = ("data", "prepare", f"folder:{root}", "--out", out, *NO_WORKERS, "--format", "jpeg", "--shard")
    for number in range(1, 13):
        assert kinelite(*command, f"{number}/12").code == (4 if number == 2 else 0)
    assert "0 problems and 1 notes in 11 clips" in kinelite("data", "check", f"store:{out}").out


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--quality", 3), ("--quality", "--format")),
        (("--format", "jpeg", "--quality", 300), ("--quality 300", "1 to 100")),
        (("--shard", "5/2"), ("--shard 5/2",)),
        (("--short-side", -3), ("--short-side -3",)),
        (("--size", 3, "--short-side", 3), ("exclude each other",)),
        (("--max-disk-gib", -1), ("--max-disk-gib",)),
        (("--limit-s", 0), ("--limit-s",)),
        (("--workers", -5), ("--workers",)),
        (("--fps", "nan"), ("--fps",)),
    ],
)
def test_flags_that_cannot_be_meant(
    kinelite: Any, clip_folder: Path, tmp_path: Path, flags: tuple[Any, ...], parts: tuple[str, ...]
) -> None:
    kinelite("data", "prepare", f"folder:{clip_folder}", "--out", tmp_path / "store", *flags).failed(2, *parts)
    assert not (tmp_path / "store").exists()


def test_a_folder_that_cannot_be_written(kinelite: Any, clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = ("data", "prepare", f"folder:{clip_folder}", "--out", tmp_path / "file" / "store", *NO_WORKERS)
    kinelite(*command, "--format", "jpeg").failed(3, "Cannot write into", "a part of that path is a file")


@pytest.mark.parametrize(("seconds", "text"), [(3.0, "3 s"), (600.0, "10 min"), (7200.0, "2.0 h")])
def test_durations(seconds: float, text: str) -> None:
    assert data_prepare._duration(seconds) == text
