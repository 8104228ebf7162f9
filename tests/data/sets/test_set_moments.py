from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinelite.config import SplitConfig
from kinelite.data.sets import find_set, load_set
from kinelite.errors import DataError, UsageError

LABELS = "data/annotations/mmaction2/mit__label_map.txt"
CATEGORIES = "clapping,0\nadult+male+singing,1\n"
TRAIN = """\
clapping/getty-1_4.mp4,clapping,3,0
adult+male+singing/yt-2.mp4,adult+male+singing,4,1
"clapping/a, b.mp4",clapping,3,0
"""
VAL = "clapping/getty-1_4.mp4,clapping,3,0\n"


def make(root: Path, train: str = TRAIN, val: str | None = VAL, categories: str = CATEGORIES, folder: str = ".") -> str:
    (root / folder).mkdir(parents=True, exist_ok=True)
    texts = {"moments_categories.txt": categories, "trainingSet.csv": train, "validationSet.csv": val}
    for name, text in texts.items():
        if text is not None:
            (root / folder / name).write_bytes(text.encode())
    return f"moments:{root}"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize("folder", [".", "annotations"])
@pytest.mark.parametrize("videos", ["", "videos/"])
def test_official_files(tmp_path: Path, folder: str, videos: str) -> None:
    names = ["training/clapping/getty-1_4.mp4", "training/adult+male+singing/yt-2.mp4", "training/clapping/a, b.mp4"]
    touch(tmp_path, *(videos + name for name in [*names, "validation/clapping/getty-1_4.mp4"]))
    found = load_set(make(tmp_path, folder=folder))
    assert found.classes == ("clapping", "adult+male+singing")
    assert [(Path(r.path).relative_to(tmp_path).as_posix(), r.labels[0], r.split) for r in found.rows] == [
        (f"{videos}training/adult+male+singing/yt-2.mp4", 1, "train"),
        (f"{videos}training/clapping/a, b.mp4", 0, "train"),
        (f"{videos}training/clapping/getty-1_4.mp4", 0, "train"),
        (f"{videos}validation/clapping/getty-1_4.mp4", 0, "val"),
    ]
    assert found.absent == ()


def test_a_clip_of_the_other_folder_does_not_stand_in(tmp_path: Path) -> None:
    touch(tmp_path, "training/clapping/getty-1_4.mp4")
    found = load_set(make(tmp_path))
    assert found.splits() == {"train": 1}
    assert f"{tmp_path}/validation/clapping/getty-1_4.mp4" in found.absent
    assert "Missing: 3 of 4 clips that the lists name are not there." in found.notes


def test_validation_alone(tmp_path: Path) -> None:
    spec = make(tmp_path)
    (tmp_path / "trainingSet.csv").unlink()
    touch(tmp_path, "validation/clapping/getty-1_4.mp4")
    assert load_set(spec).splits() == {"val": 1}
    (tmp_path / "validationSet.csv").unlink()
    with pytest.raises(DataError, match=r"trainingSet\.csv or annotations/trainingSet\.csv"):
        load_set(spec)
    with pytest.raises(UsageError, match="own split"):
        load_set(spec, SplitConfig(seed=3))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("clapping/x.mp4,claping,1,0", "'claping' is not in moments_categories.txt. Nearest: clapping"),
        ("clapping/x.mp4", "'' is not in moments_categories.txt"),
        ("x.mp4,clapping", "'x.mp4,clapping'; expected"),
        ("../x.mp4,clapping", "'../x.mp4' leads out"),
        ("/a/x.mp4,clapping", "'/a/x.mp4' leads out"),
        ('"clapping/x.mp4,clapping', "cannot be read as CSV"),
        ("clapping/getty-1_4.mp4,adult+male+singing", "the same clip as in .*line 1 .*another label"),
    ],
)
def test_unusable_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    touch(tmp_path, "training/clapping/getty-1_4.mp4")
    with pytest.raises(DataError, match=r"trainingSet.csv, line 4:? ?" + message):
        load_set(make(tmp_path, TRAIN + line))


@pytest.mark.parametrize("text", ["a,1\nb,2\n", "a,0\na,1\n", "a,0\nb,0\n", "a\n", "a,x\n", "a,-1\n", ",0\n", ""])
def test_unusable_categories_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"moments_categories\.txt"):
        load_set(make(tmp_path, categories=text))


def test_the_real_categories(shared: Path, tmp_path: Path) -> None:
    official = (shared / LABELS).read_text().splitlines()
    touch(tmp_path, "training/clapping/x.mp4")
    categories = "".join(f"{name},{number}\r\n" for number, name in enumerate(official))
    found = load_set(make(tmp_path, "clapping/x.mp4,clapping,3,0\r\n", None, categories))
    assert found.classes == tuple(official) != tuple(sorted(official))
    assert len(official) == find_set("moments:x").published["classes"]
    assert not any("version" in note for note in found.notes)
    second = "".join(f"{name},{number}\n" for number, name in enumerate(official[:305]))
    spec = make(tmp_path, "clapping/x.mp4,clapping,3,0\n", None, second)
    assert any("305 classes" in note and "version 2" in note for note in load_set(spec).notes)


CELL = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "clapping/getty-1_4.mp4",
        "clapping",
        "adult+male+singing",
        "..",
        "/x/y",
        "\ufeff",
        '"',
        "\r",
        "clapping/ü.mp4",
        "3",
    ]
)


@given(st.lists(st.lists(CELL, max_size=4), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_malformed_lines_never_end_in_another_error(tmp_path: Path, lines: list[list[str]]) -> None:
    touch(tmp_path, "training/clapping/getty-1_4.mp4", "training/clapping/ü.mp4")
    spec = make(tmp_path, TRAIN + "\n".join(",".join(cells) for cells in lines))
    try:
        rows = load_set(spec).rows
    except DataError as error:
        message = str(error)
    else:
        message = "trainingSet.csv, line"
        assert all(Path(row.path).is_file() and Path(row.path).resolve().is_relative_to(tmp_path) for row in rows)
    assert "trainingSet.csv, line" in message
