from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinelite.data.check.problems import Problem, check_manifest, differing_counts
from kinelite.data.check.shared import shared_clips
from kinelite.data.manifest import Manifest, Row

DAMAGED = Path(__file__).resolve().parents[3] / ".." / "shared/data/awkward/decord/corrupted.mp4"


def write_video(path: Path, frames: int, shade: int, noise: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i in range(frames):
            image = np.full((32, 32, 3), shade, dtype=np.uint8)
            if noise:
                image = np.random.default_rng(i).integers(0, 255, image.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for i, name in enumerate("abc"):
        write_video(tmp_path / f"{name}.mp4", 20, 40 * i)
    return tmp_path


def manifest(*rows: Row) -> Manifest:
    return Manifest("x", {"label": ("jump", "run")}, rows)


def row(path: Path, split: str = "train", start_s: float | None = None, end_s: float | None = None) -> Row:
    return Row(str(path), (0,), split, start_s, end_s)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_good_set_has_no_problems(clips: Path, workers: int) -> None:
    seen = []
    good = manifest(row(clips / "a.mp4"), row(clips / "b.mp4"), row(clips / "c.mp4", "val", 0.5, 1.9))
    assert check_manifest(good, workers, lambda done, total: seen.append((done, total))) == []
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_problem_is_found_in_order(clips: Path, workers: int) -> None:
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "text.mp4").write_text("no video")
    write_video(clips / "short.mp4", 5, 200)
    found = check_manifest(
        manifest(
            row(clips / "missing.mp4"),
            row(clips / "a.mp4"),
            row(clips / "empty.mp4"),
            row(clips / "text.mp4"),
            row(clips / "b.mp4", start_s=7.0),
            row(clips / "c.mp4", end_s=30.0),
            row(clips / "short.mp4"),
        ),
        workers,
    )
    expected = [
        ("missing.mp4", "cannot be opened", "error"),
        ("empty.mp4", "0 bytes", "error"),
        ("text.mp4", "is not a video", "error"),
        ("b.mp4", "nothing from 7 s", "error"),
        ("c.mp4", "the part ends at 30 s, the file at 2 s", "error"),
        ("short.mp4", "only 5", "note"),
    ]
    assert [(Path(p.path).name, p.level) for p in found] == [(name, level) for name, _, level in expected]
    assert all(reason in p.reason for p, (_, reason, _) in zip(found, expected, strict=True))


def test_same_bytes_in_two_splits(clips: Path) -> None:
    first = row(clips / "a.mp4")
    copy, again = (Path(shutil.copy(first.path, clips / name)) for name in ("copy.mp4", "again.mp4"))
    assert check_manifest(manifest(first, row(clips / "b.mp4", "val"))) == []
    found = check_manifest(manifest(first, row(copy), row(again, "val")))
    # What is scored stays as it is: both copies to train on are the ones to go.
    assert [(p.path, p.level) for p in found] == [(first.path, "error"), (str(copy), "error")]
    assert check_manifest(manifest(first, row(copy, "val"))) == [
        Problem(first.path, f"the same bytes as {copy} is in val as well as in train")
    ]
    assert [p.path for p in check_manifest(manifest(row(copy, "val"), row(again, "test")))] == [str(again)]


def test_same_bytes_in_one_split_are_a_note(clips: Path) -> None:
    copy = shutil.copy(clips / "a.mp4", clips / "copy.mp4")
    other = Row(str(copy), (1,), "train")
    (found,) = check_manifest(manifest(row(clips / "a.mp4"), row(clips / "b.mp4"), other))
    assert (found.path, found.level) == (str(copy), "note")
    assert "in train as well, with another label" in found.reason


def test_equal_image_folders_are_found(tmp_path: Path) -> None:
    for name, last in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.jpg").write_bytes(bytes([i if i < 4 else last] * 100))
    pairs = shared_clips(
        [row(tmp_path / name, split) for name, split in zip("abc", ("train", "val", "val"), strict=True)]
    )
    assert [(Path(p.row.path).name, Path(p.other.path).name) for p in pairs] == [("a", "b")]


def test_same_part_of_a_file_in_two_splits(clips: Path) -> None:
    a = clips / "a.mp4"
    apart = [row(a, "train", 0.0, 1.0), row(a, "val", 1.0, 2.0)]
    assert check_manifest(manifest(*apart)) == []
    found = check_manifest(manifest(*apart, row(a, "test", 0.2, 1.1)))
    assert [(p.level, p.path) for p in found] == [("error", str(a))] * 2
    assert "a part of it is in test as well as in train" in found[0].reason
    assert (found[0].start_s, found[0].end_s) == (0.0, 1.0)


def test_every_clip_to_train_on_that_shares_a_part_is_named(clips: Path) -> None:
    a = clips / "a.mp4"
    parts = [row(a, "train", 0.0, 1.5), row(a, "train", 0.1, 0.6), row(a, "train", 0.2, 0.3)]
    parts += [row(a, "test", 0.5, 1.0), row(a, "train", 0.9, 2.0), row(a, "train", 1.0, 2.0)]
    found = check_manifest(manifest(*parts))
    assert [p.start_s for p in found if p.level == "error"] == [0.0, 0.1, 0.9]


def test_parts_of_equal_files_in_two_splits(clips: Path) -> None:
    copy = Path(shutil.copy(clips / "a.mp4", clips / "copy.mp4"))
    (found,) = check_manifest(manifest(row(clips / "a.mp4"), row(copy, "test", 0.5, 1.5)))
    assert (found.path, found.level) == (str(clips / "a.mp4"), "error")
    assert found.reason == f"a part of the same bytes as {copy} is in test as well as in train"
    apart = manifest(row(clips / "a.mp4", "train", 0.0, 1.0), row(copy, "test", 1.0, 2.0))
    assert check_manifest(apart) == []


@pytest.mark.skipif(not DAMAGED.is_file(), reason="the shared test clips are not beside this checkout")
def test_damage_is_found() -> None:
    (problem,) = check_manifest(manifest(row(DAMAGED)))
    assert "is damaged: nothing can be decoded after 2.700 s" in problem.reason


def test_labels_outside_of_the_class_list(clips: Path) -> None:
    (found,) = check_manifest(manifest(Row(str(clips / "a.mp4"), (2,), "train"), row(clips / "b.mp4")))
    assert found == Problem(str(clips / "a.mp4"), "label 2 of 'label' is outside of its 2 classes")


def test_missing_clips_are_notes_and_errors_when_strict(clips: Path) -> None:
    here = replace(manifest(row(clips / "a.mp4")), absent=("gone/1.mp4", "gone/2.mp4"))
    found = check_manifest(here)
    assert [(p.path, p.level) for p in found] == [("gone/1.mp4", "note"), ("gone/2.mp4", "note")]
    assert {p.level for p in check_manifest(here, strict=True)} == {"error"}


def test_published_counts_are_compared() -> None:
    rows = [Row("a", (0, 0), "train"), Row("b", (0, 0), "train"), Row("c", (0, 0), "val")]
    here = Manifest("x", {"verb": ("go", "run"), "noun": ("cup",)}, tuple(rows), absent=("d",))
    same = {"classes verb": 2, "classes noun": 1, "train": 2, "val": 1, "test": 100}
    assert differing_counts(here, same) == []
    assert differing_counts(here, same | {"classes noun": 3, "train": 1003}) == [
        "classes noun: 1; published are 3",
        "train: 2 clips (1 clips of the lists are missing); published are 1,003",
    ]
    problems = check_manifest(replace(here, rows=()), published={"classes": 4})
    assert problems[-1] == Problem("", "classes: 2; published are 4", "note")


def test_a_video_that_was_cut_off_is_a_note(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", 600, 0, noise=True)
    half = tmp_path / "half.mkv"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (found,) = check_manifest(manifest(row(whole), row(half)))
    assert (found.path, found.level) == (str(half), "note")
    assert "announces 60.00 s, and there are" in found.reason


def test_full_finds_what_a_glance_does_not(tmp_path: Path) -> None:
    """Ten pictures between the first and the middle one are overwritten."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        rng = np.random.default_rng(0)
        for i in range(40):
            image = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data) - 3) if data[at : at + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 40
    for first in range(5, 15):
        data[starts[first] : starts[first + 1]] = bytes(starts[first + 1] - starts[first])
    path.write_bytes(data)
    assert check_manifest(manifest(row(path))) == []
    (found,) = check_manifest(manifest(row(path)), full=True)
    assert found.level == "error"
