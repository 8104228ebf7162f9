from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path

import pytest

from kinelite.data.check.look import Facts, Look
from kinelite.data.check.stats import describe, in_words, look_over, write_stats
from kinelite.data.manifest import Manifest, Row


@pytest.fixture
def here(clip_folder: Path) -> Manifest:
    """Two whole clips of 12 frames, a third of one, and a file that is not there."""
    one, two = sorted(clip_folder.rglob("*.mp4"))[:2]
    rows = (
        Row(str(one), (0,), "val"),
        Row(str(two), (0,), "train"),
        Row(str(two), (1,), "train", 0.0, 0.25),
        Row(str(clip_folder / "gone.mp4"), (0,), "train"),
    )
    return Manifest("x", {"label": ("jump", "run", "sit")}, rows, absent=("z.mp4",), notes=("a note",))


def test_what_a_set_is_like_as_plain_json(here: Manifest) -> None:
    looks = look_over(here)
    found = describe(here, looks)
    assert json.loads(json.dumps(found)) == found
    assert (found["clips"], found["files"], found["unreadable"], found["absent"]) == (4, 3, 1, 1)
    assert list(found["splits"].items()) == [("train", 3), ("val", 1)]
    assert found["classes"]["label"] == {
        "jump": {"train": 2, "val": 1},
        "run": {"train": 1, "val": 0},
        "sit": {"train": 0, "val": 0},
    }
    assert found["balance"]["label"] == {
        "classes": 3, "empty": 1, "fewest": 0, "median": 1, "most": 3, "largest_share": 0.75
    }  # fmt: skip
    assert found["seconds"] == {"min": 0.25, "median": 0.5, "max": 0.5, "total": 1.25}
    assert found["frames"] == {"min": 6.0, "median": 12.0, "max": 12.0, "total": 30.0}
    assert (found["sizes"], found["fps"], found["codecs"]) == ({"32x32": 3}, {"24": 3}, {"h264": 3})
    assert found["short_side"] == {"min": 32.0, "median": 32.0, "max": 32.0}
    # The shared file is counted once.
    size = sum(Path(row.path).stat().st_size for row in here.rows[:2])
    assert found["gib"] == pytest.approx(size / 2**30, abs=1e-6)
    assert found["hours"] == pytest.approx(1.25 / 3600, abs=1e-6)


def test_files_that_are_written(here: Manifest, tmp_path: Path) -> None:
    looks = look_over(here)
    paths = write_stats(tmp_path / "new" / "stats", describe(here, looks), here, looks)
    assert [path.name for path in paths] == ["stats.json", "stats.csv", "stats.png", "stats.svg"]
    assert json.loads(paths[0].read_text())["clips"] == 4
    table = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert [line["label_label"] for line in table] == ["jump", "jump", "run", "jump"]
    assert [line["frames"] for line in table] == ["12", "12", "6", ""]
    assert "cannot be opened" in table[3]["problem"]
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    picture = paths[3].read_text()
    assert all(text in picture for text in ("jump", "run", "train", "Length (seconds)", "32x32"))


@pytest.mark.parametrize("classes", [1, 31, 300])
def test_the_picture_copes_with_any_set(classes: int, tmp_path: Path) -> None:
    names = tuple(f"class $x_{{{k}}}$ 動作 \u202e {k}" for k in range(classes))
    rows = tuple(Row(f"{k}.mp4", (k,), ("train", "val", "")[k % 3]) for k in range(classes))
    looks = [
        Look((), Facts("h264", "mov,mp4", 100 + k, 90 + k, 25.0, 0.04 + 10000 * (k % 97 == 0), 100) if k % 2 else None)
        for k in range(classes)
    ]
    here = Manifest("folder:" + "long/" * 40, {"verb": names, "noun": names}, tuple(
        Row(r.path, (r.labels[0], 0), r.split) for r in rows))  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = write_stats(tmp_path, describe(here, looks), here, looks)
    assert paths[2].stat().st_size > 5000
    # Names are only written where they can be read.
    assert ("class $x_{0}$" in paths[3].read_text()) == (classes <= 30)


def test_an_empty_set(tmp_path: Path) -> None:
    here = Manifest("x", {"label": ("a",)}, ())
    found = describe(here, [])
    assert (found["clips"], found["seconds"], found["balance"]["label"]["largest_share"]) == (0, {}, 0.0)
    assert "no clip can be read" in write_stats(tmp_path, found, here, [])[3].read_text()


@pytest.mark.parametrize(
    ("hours", "gib", "words"),
    [(0.0, 0.0, "0.0 s, 0.0 KiB"), (0.01, 0.5, "36.0 s, 512.0 MiB"), (1.5, 2, "90.0 min, 2.0 GiB"),
     (5000, 3000, "5,000.0 h, 2.9 TiB")],
)  # fmt: skip
def test_lengths_and_sizes_in_words(hours: float, gib: float, words: str) -> None:
    assert in_words({"hours": hours, "gib": gib}) == words
