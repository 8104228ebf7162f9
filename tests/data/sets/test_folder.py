from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from kinelite.config import SplitConfig
from kinelite.data.sets import load_set
from kinelite.errors import DataError, UsageError


def make(root: Path, *names: str) -> str:
    """Empty files of these names; the loader looks at names only."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return f"folder:{root}"


def some(cls: str, count: int = 5) -> list[str]:
    return [f"{cls}/{i}.mp4" for i in range(count)]


def test_class_folders_get_a_stated_split(tmp_path: Path) -> None:
    found = load_set(make(tmp_path, *some("run"), *some("jump"), "jump/deep/er/x.AVI"))
    assert found.classes == ("jump", "run")
    assert found.splits() == {"train": 9, "val": 2}
    assert found.notes == ("Split at random, 20% of each class, seed 0: 9 clips to train on, 2 held out.",)
    assert {row.labels[0] for row in found.rows if row.split == "val"} == {0, 1}
    deep = next(row for row in found.rows if row.path.endswith("x.AVI"))
    assert (deep.labels, Path(deep.path)) == ((0,), tmp_path / "jump/deep/er/x.AVI")


@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("training", "validation"), ("Train", "Valid")])
def test_split_folders_are_taken_as_they_are(tmp_path: Path, train: str, val: str) -> None:
    names = [f"{side}/{cls}/{i}.mkv" for side in (train, val, "test") for cls in ("b", "a") for i in range(2)]
    found = load_set(make(tmp_path, *names, "docs/readme.txt"))
    assert found.classes == ("a", "b")
    assert found.splits() == {"test": 4, "train": 4, "val": 4}
    assert found.notes == (
        "Left out: docs/ beside the split folders.",
        "Split by folder: test 4 clips, train 4 clips, val 4 clips.",
    )


def test_train_alone_is_divided(tmp_path: Path) -> None:
    found = load_set(make(tmp_path, *some("train/a"), *some("train/b")))
    assert (found.classes, found.splits()) == (("a", "b"), {"train": 8, "val": 2})


def test_train_can_be_a_class(tmp_path: Path) -> None:
    found = load_set(make(tmp_path, *some("train"), *some("bus")))
    assert found.classes == ("bus", "train")


def test_groups_by_pattern_in_the_path_below_the_root(tmp_path: Path) -> None:
    names = [f"{cls}/person{p}_{i}.mp4" for cls in "ab" for p in range(5) for i in range(2)]
    spec = make(tmp_path / "person9", *names)
    found = load_set(spec, SplitConfig(group=r"person(\d+)"))
    assert {row.group for row in found.rows} == set("01234")
    assert Counter(row.split for row in found.rows) == {"train": 16, "val": 4}
    assert "none on both sides" in found.notes[0]
    with pytest.raises(UsageError, match="matches 0 of 20"):
        load_set(spec, SplitConfig(group="actor"))


def test_other_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    spec = make(
        tmp_path, *some("a"), *some("b"), "a/notes.txt", "a/.hidden.mp4", ".cache/x/1.mp4", "c/x.jpg", "top.csv"
    )
    found = load_set(spec)
    assert len(found.rows) == 10
    assert "Left out: c/ holds no video file." in found.notes
    assert any(note.startswith("Left out: 3 files that are not video") and "1 .txt" in note for note in found.notes)


def test_links_and_unicode(tmp_path: Path) -> None:
    make(tmp_path / "else", *some("clips"))
    spec = make(tmp_path / "root", *some("跳 ü"))
    (tmp_path / "root/linked").symlink_to(tmp_path / "else/clips", target_is_directory=True)
    (tmp_path / "root/linked/loop").symlink_to(tmp_path / "root/linked", target_is_directory=True)
    found = load_set(spec)
    assert found.classes == ("linked", "跳 ü")
    assert len(found.rows) == 10


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "is empty"),
        (("a/1.mp4", "a/2.mp4"), "Only one class"),
        (("a/1.txt", "b/2.jpg"), "No video file below.*1 .txt, 1 .jpg"),
        (("1.mp4", "2.mp4"), "no class folders"),
        (("train/a/1.mp4", "train/b/1.mp4", "val/c/1.mp4"), "not in the class list.*'c'"),
        (("val/a/1.mp4", "train/a/1.mp4", "val/b/1.mp4"), "not in the class list.*'b'"),
    ],
)
def test_unusable_folders(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_set(make(tmp_path, *names))


def test_missing_root_and_file_as_root(tmp_path: Path) -> None:
    make(tmp_path, "clips/a/1.mp4", "one.mp4")
    with pytest.raises(DataError, match=r"There is no folder .*nothing.*there are: clips, one\.mp4\."):
        load_set(f"folder:{tmp_path / 'nothing'}")
    with pytest.raises(DataError, match=r"parent .* is missing as well"):
        load_set(f"folder:{tmp_path / 'no/thing'}")
    with pytest.raises(DataError, match="is a file"):
        load_set(f"folder:{tmp_path / 'one.mp4'}")
    with pytest.raises(DataError, match="needs a root"):
        load_set("folder")


def test_split_options_where_the_folders_decide(tmp_path: Path) -> None:
    spec = make(tmp_path, *some("train/a"), *some("train/b"), *some("val/a"))
    with pytest.raises(UsageError, match="has split folders, so the --split options do not apply"):
        load_set(spec, SplitConfig(folds=5))


@pytest.mark.parametrize("split", [SplitConfig(group="("), SplitConfig(folds=2, fold=2), SplitConfig(val_fraction=2.0)])
def test_impossible_split_options(tmp_path: Path, split: SplitConfig) -> None:
    with pytest.raises(UsageError):
        load_set(make(tmp_path, *some("a"), *some("b")), split)
