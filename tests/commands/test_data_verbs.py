"""kinelite data check and stats: what they print, what they write and how they fail."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import av
import pytest
from av.error import FFmpegError

from kinelite.data.sets import load_set
from kinelite.errors import DataError

VIDEOS = (".mp4", ".mkv", ".avi", ".mov", ".webm")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks of earlier test runs must not be found."""
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def spoilt(copied: Path) -> Path:
    """Twelve good clips and three bad ones."""
    (copied / "moves_down" / "zero.mp4").write_bytes(b"")
    (copied / "moves_right" / 'noise, "odd" name.mp4').write_bytes(bytes(5000))
    (copied / "moves_right" / "text.mp4").write_text("no video")
    return copied


def test_data_check_names_every_bad_clip(kinelite: Any, clip_folder: Path, spoilt: Path) -> None:
    assert kinelite("data", "check", f"folder:{clip_folder}", "--json").json["errors"] == 0
    done = kinelite("data", "check", f"folder:{spoilt}", "--json")
    assert done.code == 4
    bad = {Path(p["path"]).name for p in done.json["problems"] if p["level"] == "error"}
    assert bad == {"zero.mp4", 'noise, "odd" name.mp4', "text.mp4"}
    assert done.json["clips"] == 15
    assert "is empty (0 bytes)" in done.out
    assert "--out bad.csv" in done.out


def test_the_list_leaves_out_what_is_bad_from_anywhere(
    kinelite: Any, spoilt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(spoilt.parent)
    done = kinelite("data", "check", "folder:clips", "--out", "lists/bad.csv", "--workers", "0")
    assert done.code == 4
    command = shlex.split(done.out.rpartition("Next: ")[2])
    assert command[-1] == "folder:clips,exclude=lists/bad.csv"
    again = kinelite("data", "check", command[-1], "--workers", "0", "--json")
    assert (again.code, again.json["clips"]) == (0, 12)
    (tmp_path / "far" / "away").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "far" / "away")
    rows = load_set(f"folder:{spoilt},exclude={spoilt.parent / 'lists' / 'bad.csv'}").rows
    assert len(rows) == 12


def test_a_list_that_was_in_force_stays_in_force(kinelite: Any, spoilt: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    kinelite("data", "check", f"folder:{spoilt}", "--out", first, "--workers", "0")
    (spoilt / "moves_down" / "0.mp4").write_bytes(b"")
    done = kinelite("data", "check", f"folder:{spoilt},exclude={first}", "--out", second, "--workers", "0")
    assert done.code == 4
    assert f"--data folder:{spoilt},exclude={second}\n" in done.out
    assert len(load_set(f"folder:{spoilt},exclude={second}").rows) == 11
    with second.open() as file:
        assert len({line["reason"] for line in csv.DictReader(file)}) == 2


def test_a_second_check_looks_at_what_has_changed(kinelite: Any, spoilt: Path, tmp_path: Path) -> None:
    command = ("data", "check", f"folder:{spoilt}", "--workers", "0", "--json")
    first = kinelite(*command).json
    again = kinelite(*command)
    assert (first["used"], again.json["used"]) == (0, 15)
    assert again.json["problems"] == first["problems"]
    assert "15 clips have not changed" in again.out
    shutil.copy(spoilt / "moves_down" / "1.mp4", spoilt / "moves_down" / "zero.mp4")
    mended = kinelite(*command).json
    assert (mended["used"], mended["errors"]) == (14, 2)
    # A copy of another clip, which may lie on the other side of the split, is named in its place.
    assert {Path(p["path"]).name for p in mended["problems"]} & {"zero.mp4", "1.mp4"}
    assert kinelite(*command, "--fresh").json["used"] == 0
    assert kinelite(*command, "--full").json["used"] == 0
    assert kinelite("data", "stats", f"folder:{spoilt}", "--workers", "0").code == 0


def test_strict_makes_errors_of_notes(kinelite: Any, copied: Path) -> None:
    shutil.copytree(copied / "moves_down", copied / "moves_up")
    shutil.rmtree(copied / "moves_right")
    for path in (copied / "moves_up").iterdir():
        path.write_bytes(path.read_bytes() + b"\0")
    shutil.copy(copied / "moves_up" / "0.mp4", copied / "moves_up" / "twin.mp4")
    # Only train: a folder of one split.
    (copied / "train").mkdir()
    for name in ("moves_down", "moves_up"):
        (copied / name).rename(copied / "train" / name)
    shutil.copytree(copied / "train" / "moves_down", copied / "val" / "moves_down")
    for path in (copied / "val" / "moves_down").iterdir():
        path.write_bytes(path.read_bytes() + b"\0\0")
    flags = ("data", "check", f"folder:{copied}", "--workers", "0", "--json")
    lax, strict = kinelite(*flags), kinelite(*flags, "--strict")
    assert (lax.code, strict.code) == (0, 4)
    assert "the same bytes as" in lax.json["problems"][0]["reason"]
    assert [Path(p["path"]).name for p in strict.json["problems"]] == ["twin.mp4"]


def test_a_folder_that_is_no_set_is_checked_too(kinelite: Any, spoilt: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in spoilt.rglob("*.mp4"):
        shutil.copy(path, flat / f"{path.parent.name}-{path.name}")
    with pytest.raises(DataError):
        load_set(str(flat))
    done = kinelite("data", "check", flat, "--json")
    assert (done.code, done.json["clips"], done.json["errors"]) == (4, 15, 3)
    done = kinelite("data", "stats", flat, "--json")
    assert (done.code, done.json["unreadable"]) == (0, 3)


@pytest.mark.parametrize("prefix", ["folder:", ""])
def test_the_awkward_clips(kinelite: Any, shared: Path, prefix: str) -> None:
    """Which files are bad is decided by decoding all of each with PyAV alone."""
    root = shared / "data" / "awkward"
    files = [path for path in root.rglob("*") if path.suffix in VIDEOS]
    bad = {path.name for path in files if not decodes(path)}
    assert bad == {"corrupted.mp4", "AudioVideoInterleave.avi", "Mpeg4.mp4"}
    done = kinelite("data", "check", f"{prefix}{root}", "--json")
    assert done.code == 4
    found = {Path(p["path"]).name: p["reason"] for p in done.json["problems"] if p["level"] == "error"}
    assert set(found) == bad
    assert "is damaged: nothing can be decoded after 2.700 s" in found["corrupted.mp4"]
    assert "without any frame" in found["AudioVideoInterleave.avi"]
    assert "no video stream" in found["Mpeg4.mp4"]
    notes = {Path(p["path"]).name for p in done.json["problems"] if p["level"] == "note"}
    assert notes == {"video_0.mov", "video_90.mov", "webm.webm"}
    assert done.json["clips"] == len(files) == 13


def decodes(path: Path) -> bool:
    """Every packet decodes, and there is a frame."""
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            return sum(1 for _ in container.decode(video=0)) > 0
    except (FFmpegError, IndexError):
        return False


@pytest.mark.parametrize(("folder", "clips"), [("known-labels", 15), ("ut-interaction", 120)])
def test_good_clips_are_not_called_bad(kinelite: Any, shared: Path, folder: str, clips: int) -> None:
    done = kinelite("data", "check", shared / "data" / folder, "--json", "--full")
    assert (done.code, done.json["clips"], done.json["problems"]) == (0, clips, [])


def test_tables_of_the_real_clips(kinelite: Any, shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "ut-interaction"
    with (root / "splits.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if (root / line["file"]).exists()]
    table = tmp_path / "clips.csv"
    table.write_text("path,label\n" + "".join(f"{root / line['file']},{line['label']}\n" for line in lines))
    for spec in (f"csv:{table}", table):
        found = kinelite("data", "stats", spec, "--json").json
        assert (found["clips"], found["balance"]["label"]["classes"], found["unreadable"]) == (120, 6, 0)
        assert sum(found["frames"][name] for name in ("min", "max")) == 52 + 183
    assert kinelite("data", "check", f"csv:{table}").code == 0


def test_data_stats_counts(kinelite: Any, clip_folder: Path, tmp_path: Path) -> None:
    done = kinelite("data", "stats", f"folder:{clip_folder}", "--out", tmp_path / "stats", "--json")
    assert done.json["clips"] == 12
    assert done.json["splits"] == {"train": 10, "val": 2}
    assert done.json["frames"]["median"] == 12
    assert sorted(os.listdir(tmp_path / "stats")) == ["stats.csv", "stats.json", "stats.png", "stats.svg"]
    assert str(tmp_path / "stats" / "stats.png") in done.out.replace("\n", "")
    assert f"Next: kinelite train sfa --data folder:{clip_folder}" in done.out


def test_tables_fit_on_80_columns_and_long_lists_are_shortened(
    kinelite: Any, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    source = sorted(clip_folder.rglob("*.mp4"))
    names = [f"{k:03d} a class with quite a long name [bold]{k}[/bold]" for k in range(50)]
    lines = []
    for k, name in enumerate(names):
        for copy in range(2 + (k == 7)):
            path = tmp_path / f"{k}-{copy}.mp4"
            shutil.copy(source[k % 12], path)
            lines.append(f"{path.name},{name},{'val' if copy else 'train'}\n")
    (tmp_path / "clips.csv").write_text("path,label,split\n" + "".join(lines))
    done = kinelite("data", "stats", tmp_path / "clips.csv", "--workers", "0")
    table = done.out.partition("splits")[2].partition("50 classes of 2 to 3 clips")[0].splitlines()
    assert max(map(len, table)) <= 80
    shown = [line.split()[0] for line in table if line.strip()[:3].isdigit()]
    assert shown[0] == "007"
    assert len(shown) == 20
    assert "30 more (--all)" in done.out
    everything = kinelite("data", "stats", tmp_path / "clips.csv", "--workers", "0", "--all").out
    assert all(f"{k:03d} a class" in everything for k in range(50))


@pytest.mark.skipif(os.name != "posix", reason="names of bytes are a matter of POSIX")
def test_a_name_that_is_not_utf8_can_be_told(kinelite: Any, copied: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(copied / "moves_down" / "0.mp4", flat)
    (flat / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"")
    for workers in (0, 1):
        done = kinelite("data", "check", flat, "--workers", workers, "--out", tmp_path / "b.csv", "--json")
        assert done.code == 4
        assert "caf\\udce9.mp4: is empty" in done.out


def test_data_without_or_with_an_unknown_action(kinelite: Any) -> None:
    kinelite("data").failed(2, "check, stats or prepare")
    kinelite("data", "chekc", "motion").failed(2, "Unknown action 'chekc'", "check")
    kinelite("data", "check", "foldr:x").failed(2, "folder")
    kinelite("data", "check", "folder:nowhere").failed(4, "nowhere")


def test_flags_that_make_no_sense(kinelite: Any, clip_folder: Path, tmp_path: Path) -> None:
    spec = f"folder:{clip_folder}"
    kinelite("data", "check", spec, "--workers", "-2").failed(2, "--workers -2", "-1 for one per core")
    for limit in ("0", "-1", "nan", "inf"):
        kinelite("data", "check", spec, "--limit-s", limit).failed(2, "--limit-s", "such as 60")
    kinelite("data", "check", spec, "--out", tmp_path).failed(2, "--out", "bad.csv")
    (tmp_path / "file").write_text("")
    kinelite("data", "stats", spec, "--out", tmp_path / "file").failed(2, "is a file", "folder")
    kinelite("data", "check", spec, "--out", tmp_path / "file" / "bad.csv").failed(3, "file")


def test_a_cache_that_cannot_be_written_is_done_without(
    kinelite: Any, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path / "file"))
    done = kinelite("data", "check", f"folder:{clip_folder}", "--workers", "0", "--json")
    assert (done.code, done.json["used"]) == (0, 0)
