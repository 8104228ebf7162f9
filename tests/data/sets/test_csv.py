from __future__ import annotations

from pathlib import Path

import pytest

from kinelite.config import SplitConfig
from kinelite.data.sets import load_set
from kinelite.errors import DataError, UsageError


def table(root: Path, text: str, files: tuple[str, ...] = tuple("abcdef"), encoding: str = "utf-8") -> str:
    """A CSV file beside empty clips; {} in a line's path is left to the test."""
    (root / "clips").mkdir(exist_ok=True)
    for name in files:
        (root / "clips" / f"{name}.mp4").touch()
    (root / "set.csv").write_bytes(text.encode(encoding))
    return f"csv:{root / 'set.csv'}"


def lines(*rows: str, header: str = "path,label") -> str:
    return "\n".join([header, *rows]) + "\n"


def test_paths_are_relative_to_the_file_and_the_split_is_stated(tmp_path: Path) -> None:
    absolute = tmp_path / "clips/b.mp4"
    rows = ["clips/a.mp4,run", f"{absolute},run", "clips/c.mp4,jump", "clips/d.mp4,jump"]
    found = load_set(table(tmp_path, lines(*rows)))
    assert found.tasks == {"label": ("jump", "run")}
    assert [Path(row.path) for row in found.rows] == [tmp_path / f"clips/{n}.mp4" for n in "abcd"]
    assert [row.labels for row in found.rows] == [(1,), (1,), (0,), (0,)]
    assert found.splits() == {"train": 2, "val": 2}
    assert found.notes == ("Split at random, 20% of each class, seed 0: 2 clips to train on, 2 held out.",)


def test_all_columns(tmp_path: Path) -> None:
    header = "split,path,label_verb,label_noun,start_s,end_s,group,remark"
    rows = [
        'train,clips/a.mp4,cut,"leek, white",0,1.5,p1,x',
        "train,clips/a.mp4,peel,onion,1.5,,p1,",
        "validation,clips/b.mp4,cut,onion,,,p2,",
        "Test,clips/c.mp4,peel,onion,,2,,",
    ]
    found = load_set(table(tmp_path, lines(*rows, header=header)))
    assert found.tasks == {"verb": ("cut", "peel"), "noun": ("leek, white", "onion")}
    assert [row.labels for row in found.rows] == [(0, 0), (1, 1), (0, 1), (1, 1)]
    assert [row.split for row in found.rows] == ["train", "train", "val", "test"]
    assert [(row.start_s, row.end_s) for row in found.rows] == [(0.0, 1.5), (1.5, None), (None, None), (None, 2.0)]
    assert [row.group for row in found.rows] == ["p1", "p1", "p2", ""]
    assert found.notes == ("Split by column: test 1 clips, train 2 clips, val 1 clips.",)


def test_numeric_labels_keep_their_order_and_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    rows = ["clips/a.mp4,10", "clips/b.mp4,9", "clips/c.mp4,10", "clips/d.mp4,9"]
    found = load_set(table(tmp_path, lines(*rows), encoding="utf-8-sig"))
    assert found.classes == ("9", "10")
    assert [row.labels[0] for row in found.rows] == [1, 0, 1, 0]


def test_parts_of_one_file_are_not_divided(tmp_path: Path) -> None:
    rows = [f"clips/{name}.mp4,{'xy'[part]},{part},{part + 1}" for name in "abcdef" for part in range(2)]
    found = load_set(table(tmp_path, lines(*rows, header="path,label,start_s,end_s")))
    sides = {row.path: {other.split for other in found.rows if other.path == row.path} for row in found.rows}
    assert all(len(splits) == 1 for splits in sides.values())
    assert set(found.splits()) == {"train", "val"}


def test_group_column_and_pattern(tmp_path: Path) -> None:
    rows = [f"clips/{name}.mp4,{'xy'[i % 2]},g{i // 2}" for i, name in enumerate("abcdef")]
    spec = table(tmp_path, lines(*rows, header="path,label,group"))
    assert load_set(spec).splits() == {"train": 4, "val": 2}
    pattern = load_set(spec, SplitConfig(group=r"([a-f])\.mp4"))
    assert [row.group for row in pattern.rows] == list("abcdef")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path'. Its columns: none"),
        ("path,label\n", "no rows"),
        ("file,label\nclips/a.mp4,x\n", "no column 'path'. Its columns: file, label. Should 'file' be called 'path'"),
        ("path,lable\nclips/a.mp4,x\n", "no column 'label'.*Should 'lable' be called 'label'"),
        ("path,label,label\nclips/a.mp4,x,x\n", "'label' is there more than once"),
        (lines("clips/a.mp4,x", "clips/b.mp4,"), "line 3: the column 'label' is empty"),
        (lines("clips/a.mp4,x", ",y"), "line 3: the column 'path' is empty"),
        (lines("clips/a.mp4,x,y"), "line 2: 3 cells, but the header has 2"),
        (lines("clips/a.mp4,x", "clips/b.mp4,y", "clips/a.mp4,y"), "line 4: the same clip as in line 2"),
        (lines("clips/a.mp4,x", "clips/b.mp4,y", "clips/../clips/./a.mp4,y"), "line 4: the same clip as in line 2"),
        (lines("clips/a.mp4,x", "clips/b.mp4,x"), "Only one class"),
        (
            lines("no/1.mp4,x", "clips/a.mp4,y", *(f"no/{i}.mp4,x" for i in range(2, 9))),
            "8 of 9 files.*line 2: no/1.mp4; line 4",
        ),
    ],
)
def test_unusable_tables_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        load_set(table(tmp_path, text))
    assert error.value.exit_code == 4


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("clips/c.mp4,x,trian,,", "line 4: unknown split 'trian'. Allowed: train, val.*Nearest: train"),
        ("clips/c.mp4,x,,,", "line 4: the split is empty"),
        ("clips/c.mp4,x,train,soon,", "line 4: start_s 'soon' is not a number"),
        ("clips/c.mp4,x,train,-1,", "line 4: start_s is -1"),
        ("clips/c.mp4,x,train,,nan", "line 4: end_s is nan"),
        ("clips/c.mp4,x,train,2,1", "line 4: the clip ends at 1 s and begins at 2 s"),
        ("clips/c.mp4,x,train,,0", "line 4: the clip ends at 0 s"),
        ("clips/c.mp4,z,val,,", "not in the class list.*'z'"),
    ],
)
def test_unusable_values_name_the_line(tmp_path: Path, row: str, message: str) -> None:
    rows = ["clips/a.mp4,x,train,,", "clips/b.mp4,y,train,,", row]
    with pytest.raises(DataError, match=message):
        load_set(table(tmp_path, lines(*rows, header="path,label,split,start_s,end_s")))


def test_a_group_on_both_sides_is_refused(tmp_path: Path) -> None:
    rows = ["clips/a.mp4,x,train,g", "clips/b.mp4,y,train,h", "clips/c.mp4,y,val,h"]
    with pytest.raises(DataError, match="'h' in train and val"):
        load_set(table(tmp_path, lines(*rows, header="path,label,split,group")))


def test_split_options_where_a_column_decides(tmp_path: Path) -> None:
    rows = ["clips/a.mp4,x,train", "clips/b.mp4,y,train", "clips/c.mp4,y,val"]
    spec = table(tmp_path, lines(*rows, header="path,label,split"))
    with pytest.raises(UsageError, match="has a split column, so the --split options do not apply"):
        load_set(spec, SplitConfig(seed=1))


def test_what_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").touch()
    with pytest.raises(DataError, match=r"does not exist\. .* there are: .*Nearest: mine\.csv\. csv:FILE takes"):
        load_set(f"csv:{tmp_path / 'mien.csv'}")
    with pytest.raises(DataError, match="is a folder"):
        load_set(f"csv:{tmp_path}")
    with pytest.raises(DataError, match="needs a file"):
        load_set("csv")
    with pytest.raises(DataError, match="not UTF-8"):
        load_set(table(tmp_path, lines("clips/ü.mp4,x"), encoding="latin-1"))
    with pytest.raises(DataError, match="cannot be read as CSV"):
        load_set(table(tmp_path, 'path,label\n"clips/a.mp4,x\n'))
