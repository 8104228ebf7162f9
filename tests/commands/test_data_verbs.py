"""kinelite data check and stats: what they print, what they write and how they fail."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def test_data_check_names_every_bad_clip(kinelite: Any, clip_folder: Path, tmp_path: Path) -> None:
    clips = Path(shutil.copytree(clip_folder, tmp_path / "clips"))
    assert kinelite("data", "check", f"folder:{clips}", "--json").json["errors"] == 0
    (clips / "moves_down" / "zero.mp4").write_bytes(b"")
    (clips / "moves_right" / "noise.mp4").write_bytes(bytes(5000))
    done = kinelite("data", "check", f"folder:{clips}", "--json")
    assert done.code == 4
    bad = {Path(p["path"]).name for p in done.json["problems"] if p["level"] == "error"}
    assert bad == {"zero.mp4", "noise.mp4"}
    assert done.json["clips"] == 14


def test_data_stats_counts(kinelite: Any, clip_folder: Path) -> None:
    found = kinelite("data", "stats", f"folder:{clip_folder}", "--json").json
    assert found["clips"] == 12
    assert found["splits"] == {"train": 10, "val": 2}
    assert found["frames"]["median"] == 12


def test_data_without_or_with_an_unknown_action(kinelite: Any) -> None:
    kinelite("data").failed(2, "check, stats or prepare")
    kinelite("data", "chekc", "motion").failed(2, "Unknown action 'chekc'", "check")
    kinelite("data", "check", "foldr:x").failed(2, "folder")
    kinelite("data", "check", "folder:nowhere").failed(4, "nowhere")
