from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinelite.config import SplitConfig
from kinelite.data.augment import policy
from kinelite.data.sets import find_set, load_set
from kinelite.errors import DataError, UsageError

LABELS = "data/annotations/mmaction2/jester__label_map.txt"


def make(root: Path, folder: str = ".", **texts: str) -> str:
    defaults = {
        "labels": "Swiping Right\nSwiping Left\n",
        "train": "34870;Swiping Left\n56557;Swiping Right\n",
        "validation": "9223;Swiping Left\n",
        "test": "101\n102\n",
    }
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in {**defaults, **texts}.items():
        (root / folder / f"jester-v1-{name}.csv").write_bytes(text.encode())
    return f"jester:{root}"


def clips(root: Path, *numbers: int) -> None:
    for number in numbers:
        (root / f"20bn-jester-v1/{number}").mkdir(parents=True, exist_ok=True)
        (root / f"20bn-jester-v1/{number}/00001.jpg").touch()


@pytest.mark.parametrize("folder", [".", "annotations"])
def test_official_files(tmp_path: Path, folder: str) -> None:
    clips(tmp_path, 34870, 56557, 9223, 101)
    found = load_set(make(tmp_path, folder))
    assert found.classes == ("Swiping Right", "Swiping Left")
    frames = tmp_path / "20bn-jester-v1"
    assert [(row.path, row.labels[0], row.split) for row in found.rows] == [
        (f"{frames}/34870/%05d.jpg", 1, "train"),
        (f"{frames}/56557/%05d.jpg", 0, "train"),
        (f"{frames}/9223/%05d.jpg", 1, "val"),
    ]
    assert "Left out: jester-v1-test.csv, which has no labels." in found.notes
    assert found.absent == ()


def test_gestures_are_not_mirrored(tmp_path: Path) -> None:
    clips(tmp_path, 34870)
    assert policy(load_set(make(tmp_path)).policy).hflip == 0


def test_missing_clips(tmp_path: Path) -> None:
    spec = make(tmp_path)
    with pytest.raises(DataError, match=r"None of the 3 clips(.|\n)*ROOT/20bn-jester-v1"):
        load_set(spec)
    clips(tmp_path, 9223)
    (tmp_path / "20bn-jester-v1/56557").touch()
    found = load_set(spec)
    assert len(found.rows) == 1
    assert found.absent == tuple(f"{tmp_path}/20bn-jester-v1/{number}/%05d.jpg" for number in (34870, 56557))


def test_lists_that_are_not_there(tmp_path: Path) -> None:
    clips(tmp_path, 9223)
    spec = make(tmp_path)
    (tmp_path / "jester-v1-train.csv").unlink()
    assert load_set(spec).splits() == {"val": 1}
    (tmp_path / "jester-v1-validation.csv").unlink()
    with pytest.raises(DataError, match=r"jester-v1-train\.csv"):
        load_set(spec)
    (tmp_path / "jester-v1-labels.csv").unlink()
    with pytest.raises(DataError, match=r"jester-v1-labels\.csv"):
        load_set(spec)
    with pytest.raises(UsageError, match="own split"):
        load_set(spec, SplitConfig(seed=3))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1;Swiping left", ": 'Swiping left' is not in jester-v1-labels.csv. Nearest: Swiping Left"),
        ("1;", ": '' is not in"),
        ("1", ": 1 cells, but there are 2 columns"),
        ("../1;Swiping Left", ": '../1' is not the number of a clip"),
        ("/1;Swiping Left", ": '/1' is not the number"),
        ("-1;Swiping Left", ": '-1' is not the number"),
        ('"1;Swiping Left', " cannot be read as CSV"),
        ("34870;Swiping Right", ": the same clip as in .*line 1 .*another label"),
    ],
)
def test_unusable_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    clips(tmp_path, 34870)
    with pytest.raises(DataError, match="jester-v1-train.csv, line 2" + message):
        load_set(make(tmp_path, train=f"34870;Swiping Left\n{line}"))


@pytest.mark.parametrize("labels", ["", "Swiping Left\nSwiping Left\n"])
def test_unusable_labels_are_named(tmp_path: Path, labels: str) -> None:
    with pytest.raises(DataError, match=r"jester-v1-labels\.csv"):
        load_set(make(tmp_path, labels=labels))


def test_the_real_labels(shared: Path, tmp_path: Path) -> None:
    official = (shared / LABELS).read_text().splitlines()
    clips(tmp_path, 7)
    train = "7;Turning Hand Clockwise\r\n"
    found = load_set(make(tmp_path, labels="\ufeff" + "\r\n".join(official), train=train, validation=""))
    assert found.classes == tuple(official)
    assert found.rows[0].labels == (14,)
    assert find_set("jester:x").published == {"classes": len(official), "train": 118562, "val": 14787}


CELL = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["34870", "Swiping Left", "Swiping Right", "..", "/x", "\ufeff", '"', "\r", "ü", "٣"]
)


@given(st.lists(st.lists(CELL, max_size=3), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_malformed_lines_never_end_in_another_error(tmp_path: Path, lines: list[list[str]]) -> None:
    clips(tmp_path, 34870, 56557)
    spec = make(tmp_path, train="56557;Swiping Right\n" + "\n".join(";".join(cells) for cells in lines))
    try:
        rows = load_set(spec).rows
    except DataError as error:
        message = str(error)
    else:
        message = "jester-v1-train.csv, line"
        assert {row.path for row in rows} <= {f"{tmp_path}/20bn-jester-v1/{n}/%05d.jpg" for n in (34870, 56557)}
    assert "jester-v1-train.csv, line" in message


@pytest.mark.parametrize("clip", ["rawframes/{}/00001.jpg", "videos/{}.mp4"])
def test_layouts_of_mmaction(tmp_path: Path, clip: str) -> None:
    for number in (34870, 56557, 9223):
        file = tmp_path / clip.format(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = load_set(make(tmp_path, "annotations"))
    expected = [tmp_path / clip.format(number) for number in (34870, 56557, 9223)]
    expected = [path.with_name("%05d.jpg") if path.suffix == ".jpg" else path for path in expected]
    assert [(Path(row.path), row.labels[0]) for row in found.rows] == list(zip(expected, (1, 0, 1), strict=True))
    clips(tmp_path, 9223)
    assert Path(load_set(f"jester:{tmp_path}").rows[-1].path) == tmp_path / "20bn-jester-v1/9223/%05d.jpg"
