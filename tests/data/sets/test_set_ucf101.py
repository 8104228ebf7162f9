from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinelite.config import SplitConfig
from kinelite.data.cards import published_counts
from kinelite.data.sets import find_set, load_set
from kinelite.errors import DataError, UsageError

LABELS = "data/annotations/mmaction2/ucf101__label_map.txt"


def make(root: Path, classes: list[str], lists: dict[str, list[str]], folder: str = "ucfTrainTestlist") -> str:
    """Official files; the lists are given without ending."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    lines = [f"{number} {name}" for number, name in enumerate(classes, start=1)]
    (root / folder / "classInd.txt").write_text("\r\n".join(lines) + "\r\n", newline="")
    for name, clips in lists.items():
        (root / folder / f"{name}.txt").write_text("\n".join(clips) + "\n")
    return f"ucf101:{root}"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


SMALL = {
    "trainlist01": ["B/v_B_g08_c01.avi 1", "A/v_A_g08_c01.avi 2"],
    "testlist01": ["B/v_B_g01_c01.avi", "A/v_A_g01_c02.avi"],
    "trainlist02": ["B/v_B_g01_c01.avi 1", "A/v_A_g01_c02.avi 2"],
    "testlist02": ["B/v_B_g08_c01.avi"],
}


@pytest.mark.parametrize("videos", ["UCF-101/", "videos/", ""])
@pytest.mark.parametrize("folder", ["ucfTrainTestlist", "annotations", "."])
def test_official_lists(tmp_path: Path, videos: str, folder: str) -> None:
    clips = ["B/v_B_g08_c01.avi", "A/v_A_g08_c01.mp4", "B/v_B_g01_c01.avi", "A/v_A_g01_c02.avi"]
    touch(tmp_path, *(videos + name for name in clips))
    spec = make(tmp_path, ["B", "A"], SMALL, folder)
    found = load_set(spec)
    assert found.classes == ("B", "A")
    rows = [(Path(r.path).relative_to(tmp_path).as_posix(), r.labels[0], r.split, r.group) for r in found.rows]
    assert rows == [
        (f"{videos}A/v_A_g08_c01.mp4", 1, "train", "A g08"),
        (f"{videos}B/v_B_g08_c01.avi", 0, "train", "B g08"),
        (f"{videos}A/v_A_g01_c02.avi", 1, "test", "A g01"),
        (f"{videos}B/v_B_g01_c01.avi", 0, "test", "B g01"),
    ]
    second = load_set(f"{spec},split=2")
    assert second.splits() == {"train": 2, "test": 1}
    with pytest.raises(UsageError, match=r"does not take split=4\. Allowed: split: 1 or 2 or 3"):
        load_set(f"{spec},split=4")
    with pytest.raises(DataError, match="trainlist03"):
        load_set(f"{spec},split=3")
    with pytest.raises(UsageError, match="brings its own splits"):
        load_set(spec, SplitConfig(folds=2))


def test_missing_clips(tmp_path: Path) -> None:
    spec = make(tmp_path, ["B", "A"], SMALL)
    with pytest.raises(DataError, match=r"None of the 4 clips(.|\n)*ROOT/UCF-101/"):
        load_set(spec)
    touch(tmp_path, "UCF-101/B/v_B_g08_c01.avi")
    found = load_set(spec)
    assert len(found.rows) == 1
    assert found.absent[0] == f"{tmp_path}/UCF-101/A/v_A_g08_c01.avi"
    assert "Missing: 3 of 4 clips that the lists name are not there." in found.notes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("B/v_B_g09_c01.avi 2", "line 2: class number 2, but classInd.txt says 1 for B"),
        ("B/v_B_g09_c01.avi 0", "line 2: class number 0"),
        ("B/v_B_g09_c01.avi x", "line 2: class number is 'x'"),
        ("C/v_C_g09_c01.avi 1", "line 2: 'C/v_C_g09_c01.avi 1'; expected"),
        ("v_B_g09_c01.avi 1", "line 2: 'v_B_g09_c01.avi 1'; expected"),
        ("../../B/v_B_g09_c01.avi 1", "line 2: .* leads out of"),
        ("/B/v_B_g09_c01.avi 1", "line 2: .* leads out of"),
        ("B", "line 2: 'B'; expected"),
    ],
)
def test_unusable_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    touch(tmp_path, "UCF-101/B/v_B_g08_c01.avi")
    lists = {**SMALL, "trainlist01": ["B/v_B_g08_c01.avi 1", line]}
    with pytest.raises(DataError, match="trainlist01.txt, " + message):
        load_set(make(tmp_path, ["B", "A"], lists))


def test_a_clip_on_both_sides_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "UCF-101/B/v_B_g08_c01.avi")
    lists = {"trainlist01": ["B/v_B_g08_c01.avi 1"], "testlist01": ["B/v_B_g08_c01.avi"]}
    with pytest.raises(DataError, match=r"testlist01.txt, line 1: the same clip as in .*trainlist01.txt, line 1"):
        load_set(make(tmp_path, ["B", "A"], lists))
    lists = {"trainlist01": ["B/v_B_g08_c01.avi 1", "B/v_B_g08_c01.avi 1"], "testlist01": []}
    found = load_set(make(tmp_path, ["B", "A"], lists))
    assert len(found.rows) == 1
    assert "trainlist01.txt, line 2: the same clip as in" in " ".join(found.notes)


@pytest.mark.parametrize("text", ["0 A\n1 B\n", "1 A\n3 B\n", "1 A\n1 B\n", "1 A\n2 A\n", "x A\n", "1\n", ""])
def test_unusable_class_numbers_are_named(tmp_path: Path, text: str) -> None:
    spec = make(tmp_path, ["B", "A"], SMALL)
    (tmp_path / "ucfTrainTestlist/classInd.txt").write_text(text)
    with pytest.raises(DataError, match=r"classInd\.txt"):
        load_set(spec)


def test_the_real_classes_and_their_published_count(shared: Path, tmp_path: Path) -> None:
    official = (shared / LABELS).read_text().splitlines()
    lists = {
        "trainlist01": [f"{name}/v_{name}_g08_c01.avi {i}" for i, name in enumerate(official, start=1)],
        "testlist01": [f"{name}/v_{name}_g01_c01.avi" for name in official],
    }
    touch(tmp_path, *(f"UCF-101/{line.split()[0]}" for lines in lists.values() for line in lines))
    found = load_set(make(tmp_path, official, lists))
    assert found.classes == tuple(official)
    assert found.splits() == {"train": 101, "test": 101}
    # The owner sorts without regard to case: Hammering, HammerThrow.
    assert official == sorted(official, key=str.lower) != sorted(official)
    card = find_set("ucf101:x")
    for split in ("1", "2", "3"):
        counts = published_counts(card, {"split": split})
        assert counts["classes"] == len(official)
        assert counts["train"] + counts["test"] == 13_320, "each split shares out all clips"


WORD = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
PIECE = WORD | st.sampled_from(
    ["B/v_B_g08_c01.avi", "A/ü.avi", "1", "2", "..", "/", "\ufeff", '"', "\r", "B/../..", "-1"]
)


@given(st.lists(st.lists(PIECE, max_size=3), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_malformed_lines_never_end_in_another_error(tmp_path: Path, lines: list[list[str]]) -> None:
    touch(tmp_path, "UCF-101/B/v_B_g08_c01.avi", "UCF-101/A/ü.avi")
    spec = make(tmp_path, ["B", "A"], SMALL)
    text = "\n".join(["B/v_B_g08_c01.avi 1", *(" ".join(pieces) for pieces in lines)])
    (tmp_path / "ucfTrainTestlist/trainlist01.txt").write_bytes(text.encode())
    try:
        rows = load_set(spec).rows
    except DataError as error:
        message = str(error)
    else:
        message = "trainlist01.txt, line"
        assert all(Path(row.path).is_file() and Path(row.path).resolve().is_relative_to(tmp_path) for row in rows)
    assert "trainlist01.txt, line" in message


@pytest.mark.parametrize("folder", ["HandstandPushups", "HandStandPushups"])
@pytest.mark.parametrize("stem", ["v_HandstandPushups", "v_HandStandPushups"])
@pytest.mark.parametrize("listed", ["HandstandPushups/v_HandStandPushups", "HandStandPushups/v_HandStandPushups"])
def test_both_spellings_of_handstands(tmp_path: Path, folder: str, stem: str, listed: str) -> None:
    touch(tmp_path, f"UCF-101/{folder}/{stem}_g08_c01.avi", "UCF-101/A/v_A_g01_c01.avi")
    lists = {"trainlist01": [f"{listed}_g08_c01.avi 2"], "testlist01": ["A/v_A_g01_c01.avi"]}
    found = load_set(make(tmp_path, ["A", "HandstandPushups"], lists))
    assert [(Path(row.path).stem, row.labels[0]) for row in found.rows] == [(f"{stem}_g08_c01", 1), ("v_A_g01_c01", 0)]
