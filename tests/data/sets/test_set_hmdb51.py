from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinelite.config import SplitConfig
from kinelite.data.cards import published_counts
from kinelite.data.sets import find_set, load_set
from kinelite.errors import DataError, UsageError

LABELS = "data/annotations/mmaction2/hmdb51__label_map.txt"
LISTS = "testTrainMulti_7030_splits"


def make(root: Path, lists: dict[str, list[str]], split: int = 1, folder: str = LISTS) -> str:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        # The owner's lines end in a blank.
        (root / folder / f"{name}_test_split{split}.txt").write_text("".join(f"{line} \n" for line in lines))
    return f"hmdb51:{root}"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


SMALL = {"shoot_gun": ["#20_a b(c)_shoot_gun_f_nm_np1_ba_med_0.avi 1", "x.avi 2", "y.avi 0"], "chew": ["x.avi 1"]}


@pytest.mark.parametrize("videos", ["hmdb51_org/", "videos/", "hmdb51/", ""])
@pytest.mark.parametrize("folder", [LISTS, f"test_train_splits/{LISTS}", "annotations"])
def test_official_lists(tmp_path: Path, videos: str, folder: str) -> None:
    clips = ["chew/x.mp4", f"shoot_gun/{SMALL['shoot_gun'][0][:-2]}", "shoot_gun/x.avi", "shoot_gun/y.avi"]
    touch(tmp_path, *(videos + name for name in clips))
    found = load_set(make(tmp_path, SMALL, folder=folder))
    assert found.classes == ("chew", "shoot_gun")
    assert [(Path(r.path).relative_to(tmp_path).as_posix(), r.labels[0], r.split) for r in found.rows] == [
        (videos + clips[0], 0, "train"),
        (videos + clips[1], 1, "train"),
        (videos + clips[2], 1, "test"),
    ]
    assert "Not in split 1: 1 clips that its lists mark with 0." in found.notes
    assert found.absent == ()


def test_other_splits_and_missing_clips(tmp_path: Path) -> None:
    make(tmp_path, SMALL)
    spec = make(tmp_path, {name: ["x.avi 2", "z.avi 1"] for name in SMALL}, split=3)
    touch(tmp_path, "chew/x.avi")
    found = load_set(f"{spec},split=3")
    assert found.splits() == {"test": 1}
    assert f"{tmp_path}/hmdb51_org/shoot_gun/z.avi" in found.absent
    assert len(found.absent) == 3
    with pytest.raises(DataError, match=r"_test_split2\.txt"):
        load_set(f"{spec},split=2")
    with pytest.raises(UsageError, match="1 or 2 or 3"):
        load_set(f"{spec},split=0")
    with pytest.raises(UsageError, match="own splits"):
        load_set(spec, SplitConfig(val_fraction=0.5))
    (tmp_path / "chew/x.avi").unlink()
    with pytest.raises(DataError, match=r"None of the 4 clips(.|\n)*ROOT/hmdb51_org"):
        load_set(f"{spec},split=3")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x.avi 3", "line 2: 'x.avi 3'; expected"),
        ("x.avi", "line 2: 'x.avi'; expected"),
        ("x.avi -1", "line 2: 'x.avi -1'; expected"),
        ("../x.avi 1", "line 2: '../x.avi' leads out"),
        ("/x.avi 1", "line 2: '/x.avi' leads out"),
        ("y.avi 2", "line 2: the same clip as in .*line 1 .*with another label or split"),
    ],
)
def test_unusable_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    touch(tmp_path, "chew/y.avi", "chew/x.avi")
    with pytest.raises(DataError, match="chew_test_split1.txt, " + message):
        load_set(make(tmp_path, {**SMALL, "chew": ["y.avi 1", line]}))


def test_counts_are_the_published_ones_with_the_real_classes(shared: Path, tmp_path: Path) -> None:
    official = (shared / LABELS).read_text().splitlines()
    lists = {name: [f"{name}{i}.avi {1 if i < 70 else 2 if i < 100 else 0}" for i in range(102)] for name in official}
    spec = make(tmp_path, lists)
    touch(tmp_path, *(f"{name}/{line.split()[0]}" for name, lines in lists.items() for line in lines))
    found = load_set(spec)
    assert found.classes == tuple(official)
    assert {"classes": len(found.classes), **found.splits()} == published_counts(find_set("hmdb51:x"), {})


def test_a_real_clip_and_its_real_name(shared: Path, tmp_path: Path) -> None:
    clip = next((shared / "data/known-labels").glob("hmdb51_*cartwheel*.avi"))
    name = clip.name.removeprefix("hmdb51_")
    (tmp_path / "cartwheel").mkdir()
    (tmp_path / "cartwheel" / name).symlink_to(clip)
    row = load_set(make(tmp_path, {"cartwheel": [f"{name} 1"], "wave": ["w.avi 1"]})).rows[0]
    assert Path(row.path).name == name
    assert row.labels == (0,)


WORD = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
PIECE = WORD | st.sampled_from(["x.avi", "ü.avi", "1", "2", "0", "..", "/etc/x.avi", "\ufeff", '"', "\r", "-1"])


@given(st.lists(st.lists(PIECE, max_size=3), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_malformed_lines_never_end_in_another_error(tmp_path: Path, lines: list[list[str]]) -> None:
    touch(tmp_path, "videos/chew/x.avi", "videos/chew/ü.avi", "videos/shoot_gun/x.avi")
    spec = make(tmp_path, SMALL)
    text = "\n".join(" ".join(pieces) for pieces in lines)
    (tmp_path / LISTS / "chew_test_split1.txt").write_bytes(text.encode())
    try:
        rows = load_set(spec).rows
    except DataError as error:
        message = str(error)
    else:
        message = "chew_test_split1.txt, line"
        assert all(Path(row.path).is_file() and Path(row.path).resolve().is_relative_to(tmp_path) for row in rows)
    assert "chew_test_split1.txt, line" in message
