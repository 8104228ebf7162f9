from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinelite.data.check import Problem, check_manifest, stats
from kinelite.data.manifest import Manifest, Row

DAMAGED = Path(__file__).resolve().parents[2] / ".." / "shared/data/awkward/decord/corrupted.mp4"


def write_video(path: Path, frames: int, shade: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i in range(frames):
            image = np.full((32, 32, 3), shade, dtype=np.uint8)
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
    copy = clips / "copy.mp4"
    shutil.copy(clips / "a.mp4", copy)
    first = row(clips / "a.mp4")
    assert check_manifest(manifest(first, row(copy))) == []
    assert check_manifest(manifest(first, row(copy), row(clips / "b.mp4", "val"))) == []
    again = clips / "again.mp4"
    shutil.copy(copy, again)
    assert [p.path for p in check_manifest(manifest(first, row(copy), row(again, "val")))] == [str(again)]
    assert check_manifest(manifest(first, row(copy, "val"))) == [
        Problem(str(copy), f"the same bytes as {first.path} is in train as well as in val")
    ]


def test_same_part_of_a_file_in_two_splits(clips: Path) -> None:
    a = clips / "a.mp4"
    apart = [row(a, "train", 0.0, 1.0), row(a, "val", 1.0, 2.0)]
    assert check_manifest(manifest(*apart)) == []
    found = check_manifest(manifest(*apart, row(a, "test", 0.2, 1.1)))
    assert [(p.level, p.path) for p in found] == [("error", str(a))] * 2
    assert "a part of it is in train as well as in test" in found[0].reason


@pytest.mark.skipif(not DAMAGED.is_file(), reason="the shared test clips are not beside this checkout")
def test_damage_is_found() -> None:
    (problem,) = check_manifest(manifest(row(DAMAGED)))
    assert "is damaged: nothing can be decoded after 2.700 s" in problem.reason


def test_stats_are_plain_json(clips: Path) -> None:
    rows = (row(clips / "a.mp4"), row(clips / "b.mp4", "val", 0.5, 1.0), row(clips / "gone.mp4"))
    found = stats(manifest(*rows))
    assert json.loads(json.dumps(found)) == found
    assert (found["clips"], found["files"], found["unreadable"]) == (3, 3, 1)
    assert found["splits"] == {"train": 2, "val": 1}
    assert found["classes"] == {"label": {"jump": {"train": 2, "val": 1}, "run": {"train": 0, "val": 0}}}
    assert found["seconds"] == {"min": 0.5, "median": 1.25, "max": 2.0, "total": 2.5}
    assert found["frames"] == {"min": 5.0, "median": 12.5, "max": 20.0, "total": 25.0}
    assert (found["sizes"], found["fps"], found["codecs"]) == ({"32x32": 2}, {"10": 2}, {"h264": 2})
