from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest
from kinelite.data.sets import find_set, load_set
from kinelite.data.sets._classmap import ClassList, read_class_list
from kinelite.errors import DataError, UsageError

HEADER = "label,youtube_id,time_start,time_end,split\n"
MMACTION = "data/annotations/mmaction2/kinetics__label_map_k{}.txt"
NONLOCAL = "data/annotations/nonlocal-kinetics"
RAIVOKOOT = "data/annotations/raivokoot/Kinetics400__labels_to_id.csv"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def table(root: Path, name: str, *rows: str, header: str = HEADER) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")


def where(root: Path, manifest: Manifest) -> dict[str, tuple[str, str]]:
    """Path below the root -> class name and split."""
    return {
        Path(row.path).relative_to(root).as_posix(): (manifest.classes[row.labels[0]], row.split)
        for row in manifest.rows
    }


CLIPS = {
    "class folders": ("train/riding a bike/aaaaaaaaaaa_000010_000020.mp4", "val/zumba/bbbbbbbbbbb_000000_000010.mp4"),
    "underscores": ("train/riding_a_bike/aaaaaaaaaaa_000010_000020.mkv", "valid/zumba/bbbbbbbbbbb_000000_000010.webm"),
    "flat": ("train/aaaaaaaaaaa_000010_000020.mp4", "val/bbbbbbbbbbb_000000_000010.mp4"),
    "videos": ("videos/aaaaaaaaaaa_000010_000020.mp4", "videos/bbbbbbbbbbb_000000_000010.mp4"),
    "bare ids": ("train/riding a bike/aaaaaaaaaaa.mp4", "val/bbbbbbbbbbb.mkv"),
    "mmaction": ("videos_train/riding_a_bike/aaaaaaaaaaa_000010_000020.mp4", "videos_val/bbbbbbbbbbb_0_10.avi"),
}  # fmt: skip


@pytest.mark.parametrize("layout", CLIPS)
@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train.csv", "val.csv"),
        ("annotations/train.csv", "annotations/validate.csv"),
        ("kinetics400/train.csv", "kinetics400/validate.csv"),
        ("kinetics400_train.csv", "kinetics400_val.csv"),
    ],
)
def test_official_tables_over_the_usual_layouts(tmp_path: Path, layout: str, train: str, val: str) -> None:
    touch(tmp_path, *CLIPS[layout])
    table(tmp_path, train, "riding a bike,aaaaaaaaaaa,10,20,train")
    table(tmp_path, val, '"zumba",bbbbbbbbbbb,0,10,validate')
    found = load_set(f"kinetics400:{tmp_path}")
    assert where(tmp_path, found) == {
        CLIPS[layout][0]: ("riding a bike", "train"),
        CLIPS[layout][1]: ("zumba", "val"),
    }
    assert found.absent == ()
    assert found.policy == "lightweight_kinetics"
    assert all(row.start_s is None and row.end_s is None for row in found.rows)


@pytest.mark.parametrize("number", [400, 600, 700])
def test_each_edition_is_a_set_with_its_counts(number: int) -> None:
    card = find_set(f"kinetics{number}:x")
    assert card.published["classes"] == number
    assert "arXiv" in card.source
    assert card.licence
    assert f"k{number}" in card.tree
    assert find_set("kinetics400:x").published == {"classes": 400, "train": 246534, "val": 19906}


def test_older_columns_dates_and_byte_order_marks(tmp_path: Path) -> None:
    touch(tmp_path, "a/aaaaaaaaaaa_000001_000011.mp4", "b/bbbbbbbbbbb_000001_000011.mp4")
    text = "label,youtube_id,time_start,time_end,split,is_cc\r\na,aaaaaaaaaaa,1,11,train,0\r\n\r\n"
    text += "b,bbbbbbbbbbb,1.0,11.0,val,1\r\n"
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_set(f"kinetics700:{tmp_path}").splits() == {"train": 1, "val": 1}


def test_a_test_table_counts_only_with_labels(tmp_path: Path) -> None:
    touch(tmp_path, *(f"x/{i * 11}_000000_000010.mp4" for i in "abc"))
    table(tmp_path, "train.csv", f"a,{'a' * 11},0,10,train", f"b,{'b' * 11},0,10,train")
    table(tmp_path, "test.csv", f"{'c' * 11},0,10,test", header="youtube_id,time_start,time_end,split\n")
    found = load_set(f"kinetics600:{tmp_path}")
    assert found.splits() == {"train": 2}
    assert "Left out: 1 lines of test.csv, which has no labels." in found.notes
    table(tmp_path, "test.csv", f"b,{'c' * 11},0,10,test")
    assert load_set(f"kinetics600:{tmp_path}").splits() == {"train": 2, "test": 1}


def test_missing_clips_are_listed_and_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/aaaaaaaaaaa_000000_000010.mp4")
    rows = ["a,aaaaaaaaaaa,0,10,train", "b,bbbbbbbbbbb,0,10,train", "b,ccccccccccc,3,13,train"]
    table(tmp_path, "train.csv", *rows)
    found = load_set(f"kinetics400:{tmp_path}")
    assert len(found.rows) == 1
    assert found.absent == tuple(
        f"{tmp_path}/train/b/{name}.mp4" for name in ("bbbbbbbbbbb_000000_000010", "ccccccccccc_000003_000013")
    )
    assert "Missing: 2 of 3 clips that the lists name are not there." in found.notes
    assert "1 classes have no clip to train on, such as 'b'." in found.notes
    (tmp_path / "train/a/aaaaaaaaaaa_000000_000010.mp4").unlink()
    with pytest.raises(DataError, match="None of the 3 clips") as error:
        load_set(f"kinetics400:{tmp_path}")
    assert "ROOT/train.csv" in str(error.value)


def test_repeated_rows_are_named(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i * 11}_000000_000010.mp4" for i in "abc"))
    rows = [f"a,{'a' * 11},0,10,train", f"b,{'b' * 11},0,10,train", f"a,{'a' * 11},0,10,train"]
    table(tmp_path, "train.csv", *rows, f"a,{'c' * 11},0,10,train")
    table(tmp_path, "val.csv", f"a,{'c' * 11},0,10,val")
    found = load_set(f"kinetics400:{tmp_path}")
    assert len(found.rows) == 2
    repeated, torn = (next(n for n in found.notes if n.startswith(w)) for w in ("Counted once", "Left out"))
    assert "1 repeated lines" in repeated
    assert "train.csv, line 4: the same clip as in" in repeated
    assert "1 clips that have two labels or splits" in torn
    assert "val.csv, line 2" in torn


def test_of_several_copies_the_one_in_its_class_and_split_is_taken(tmp_path: Path) -> None:
    name = "aaaaaaaaaaa_000000_000010.mp4"
    touch(tmp_path, *(f"{folder}/{name}" for folder in ("all", "train/a", "val/a", "val/b")), "bbbbbbbbbbb.mp4")
    table(tmp_path, "val.csv", "a,aaaaaaaaaaa,0,10,val", "b,bbbbbbbbbbb,0,10,val")
    assert f"val/a/{name}" in where(tmp_path, load_set(f"kinetics400:{tmp_path}"))


def test_the_folder_of_a_class_is_none_of_a_split(tmp_path: Path) -> None:
    name = "training dog/aaaaaaaaaaa_000000_000010.mp4"
    touch(tmp_path, f"copy/{name}", f"train/{name}", "b.mp4")
    table(tmp_path, "train.csv", "training dog,aaaaaaaaaaa,0,10,train", "b,b,0,10,train")
    assert f"train/{name}" in where(tmp_path, load_set(f"kinetics400:{tmp_path}"))


def test_a_clip_in_the_folder_of_another_class_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "train/b/aaaaaaaaaaa_000000_000010.mp4", "train/b/bbbbbbbbbbb_000000_000010.mp4")
    table(tmp_path, "train.csv", "a,aaaaaaaaaaa,0,10,train", "b,bbbbbbbbbbb,0,10,train")
    found = load_set(f"kinetics400:{tmp_path}")
    assert where(tmp_path, found)["train/b/aaaaaaaaaaa_000000_000010.mp4"] == ("a", "train")
    assert any("1 clips lie in the folder of another class" in note for note in found.notes)


def test_whole_videos_are_cut_by_the_table(tmp_path: Path) -> None:
    touch(tmp_path, "videos/aaaaaaaaaaa.mp4", "videos/bbbbbbbbbbb_000003_000013.mp4")
    table(tmp_path, "train.csv", *("a,aaaaaaaaaaa,3,13,train", "b,aaaaaaaaaaa,20,30,train", "b,bbbbbbbbbbb,3,13,train"))
    found = load_set(f"kinetics700:{tmp_path},untrimmed=true")
    assert [(row.labels[0], row.start_s, row.end_s) for row in found.rows] == [(0, 3, 13), (1, 20, 30), (1, None, None)]
    taken_as_clips = load_set(f"kinetics700:{tmp_path}")
    assert len(taken_as_clips.rows) == 1
    assert any("two labels or splits" in note for note in taken_as_clips.notes)


def test_a_class_list_gives_the_official_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "train/b_c/aaaaaaaaaaa_000000_000010.mp4")
    table(tmp_path, "train.csv", "b c,aaaaaaaaaaa,0,10,train", "d's,bbbbbbbbbbb,0,10,train")
    assert any("2 of 400 classes, from the CSV files" in note for note in load_set(f"kinetics400:{tmp_path}").notes)
    (tmp_path / "label_map_k400.txt").write_text("a\nb c\nd's\n")
    found = load_set(f"kinetics400:{tmp_path}")
    assert found.classes == ("a", "b c", "d's")
    assert found.rows[0].labels == (1,)
    (tmp_path / "label_map_k400.txt").write_text("a\nb d\n")
    with pytest.raises(DataError, match=r"train.csv, line 2: the class 'b c' is not among the 2.*Nearest: b d"):
        load_set(f"kinetics400:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("label_map.txt", "\ufeffb\r\n\r\na b\r\n", ("b", "a b")),
        ("classids.json", json.dumps({'"a b"': 1, "b": 0}), ("b", "a b")),
        ("kinetics_classnames.json", json.dumps({"b": 0, "a_b": 1}), ("b", "a b")),
        ("kinetics600-id2label.json", json.dumps({"0": "b", "1": "a b"}), ("b", "a b")),
        ("list.json", json.dumps(["b", "a b"]), ("b", "a b")),
        ("kinetics_400_labels.csv", "id,name\n1,a b\n0,b\n", ("b", "a b")),
    ],
)
def test_class_lists_in_all_formats(tmp_path: Path, name: str, text: str, wanted: tuple[str, ...]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_class_list(tmp_path / name).names == wanted


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", 'b\n"B"\n'),
        ("a.csv", "id,name\n0,a\n2,b\n"),
        ("a.csv", "id,name\n0,a\n0,b\n"),
        ("a.csv", "id,name\n-1,a\n"),
        ("a.json", "{}"),
        ("a.json", "3"),
        ("a.json", '{"a": 0, "b": true}'),
        ("a.json", '{"a": 0, "b": 0.5}'),
        ("a.json", "[1, 2]"),
    ],
)
def test_unusable_class_lists_are_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name):
        read_class_list(tmp_path / name)


@pytest.mark.parametrize("file", ["train.txt", "trainlist.txt", "kinetics400_train_list_videos.txt", "train.csv"])
def test_lists_of_paths_and_labels(tmp_path: Path, file: str) -> None:
    touch(tmp_path, "train/riding a bike/a.mp4", "train/zumba/b.mp4", "own/c d.webm", "train/zumba/no suffix.mkv")
    lines = [
        "train/riding a bike/a.mp4 riding a bike",
        "zumba/b.mp4,zumba",
        "'own/c d.webm'\t\"zumba\"",
        "gone.mp4 zumba",
    ]
    (tmp_path / file).write_text("\n".join(lines))
    found = load_set(f"kinetics400:{tmp_path}")
    assert where(tmp_path, found) == {
        "own/c d.webm": ("zumba", "train"),
        "train/riding a bike/a.mp4": ("riding a bike", "train"),
        "train/zumba/b.mp4": ("zumba", "train"),
    }
    assert found.absent == ("gone.mp4",)


def test_numbers_in_lists_need_names(tmp_path: Path) -> None:
    touch(tmp_path, "flat/a.mp4", "flat/b.mp4")
    (tmp_path / "val.txt").write_text("flat/a.mp4 0\nflat/b.mp4 1\n")
    with pytest.raises(DataError, match=r"1 folders for the 2 numbers 0 to 1.*label_map"):
        load_set(f"kinetics400:{tmp_path}")
    (tmp_path / "label_map_k400.txt").write_text("x\ny\n")
    assert load_set(f"kinetics400:{tmp_path}").classes == ("x", "y")
    (tmp_path / "val.txt").write_text("flat/a.mp4 0\nflat/b.mp4 2\n")
    with pytest.raises(DataError, match=r"val.txt, line 2: label 2; .* has classes 0 to 1"):
        load_set(f"kinetics400:{tmp_path}")


def test_lists_in_another_order_of_classes_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp4", "y/b.mp4", "z/c.mp4")
    (tmp_path / "label_map.txt").write_text("x\ny\nz\n")
    (tmp_path / "val.txt").write_text("x/a.mp4 2\ny/b.mp4 0\nz/c.mp4 1\n")
    with pytest.raises(DataError, match="3 of 3 lines name a clip in the folder of another class"):
        load_set(f"kinetics400:{tmp_path}")


def test_a_test_list_without_labels_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp4", "y/b.mp4")
    (tmp_path / "val.txt").write_text("x/a.mp4 0\ny/b.mp4 1\n")
    (tmp_path / "test.txt").write_text("t/a.mp4 -1\nt/b.mp4 -1\n")
    assert "Left out: test.txt, which has no labels." in load_set(f"kinetics400:{tmp_path}").notes


def test_foreign_prefixes(tmp_path: Path) -> None:
    touch(tmp_path, "val/a b/1.mp4", "val/c/2.mkv", "other/c/1.mp4")
    (tmp_path / "vallist.txt").write_text("/far/val_256/a_b/1.mp4 0\n/far/val_256/c/2.mp4 1\n/far/val_256/c/3.mp4 1\n")
    wanted = {"val/a b/1.mp4": ("a b", "val"), "val/c/2.mkv": ("c", "val")}
    found = load_set(f"kinetics400:{tmp_path}")
    assert where(tmp_path, found) == wanted
    assert found.absent == ("/far/val_256/c/3.mp4",)
    assert any("2 paths of the lists are not below the root, such as /far/val_256/a_b/1.mp4" in n for n in found.notes)
    (tmp_path / "val/a b").rename(tmp_path / "val/a_b")
    stripped = load_set(f"kinetics400:{tmp_path},strip_prefix=/far/val_256")
    assert len(stripped.rows) == 2
    assert not any("not below the root" in note for note in stripped.notes)
    with pytest.raises(UsageError, match="begins with strip_prefix '/near'"):
        load_set(f"kinetics400:{tmp_path},strip_prefix=/near")


def test_paths_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root, "x/a.mp4")
    touch(tmp_path, "y/b.mp4")
    (root / "val.txt").write_text("x/a.mp4 0\n../y/b.mp4 1\n")
    with pytest.raises(DataError, match=r"val.txt, line 2: '../y/b.mp4' leads out"):
        load_set(f"kinetics400:{root}")
    assert len(load_set(f"kinetics400:{root},outside=true").rows) == 2
    (root / "val.txt").write_text(f"x/a.mp4 0\n{tmp_path}/y/b.mp4 1\n")
    assert load_set(f"kinetics400:{root}").absent == (f"{tmp_path}/y/b.mp4",)
    assert len(load_set(f"kinetics400:{root},outside=true").rows) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,../x,0,10,train", "line 3: '../x' is not the id"),
        ("a,/etc/x,0,10,train", "line 3: '/etc/x' is not the id"),
        ("a,,0,10,train", "line 3: '' is not the id"),
        ("a,x,-1,10,train", "line 3: time_start is -1"),
        ("a,x,20,10,train", "line 3: the clip ends at 10 s and begins at 20 s"),
        ("a,x,,10,train", "line 3: time_start '' is not a number"),
        ("a,x,0,inf,train", "line 3: time_end 'inf' is not a number"),
        ("a,x,0,10,trian", "line 3: unknown split 'trian'"),
        ("a,x,0,10", "line 3: 4 cells, but there are 5 columns"),
        (",x,0,10,train", "line 3: the class '' is not among"),
        ('"a,x,0,10,train', "cannot be read as CSV"),
    ],
)
def test_unusable_rows_name_the_line(tmp_path: Path, row: str, message: str) -> None:
    table(tmp_path, "train.csv", "b,bbbbbbbbbbb,0,10,train", row)
    with pytest.raises(DataError, match=message):
        load_set(f"kinetics400:{tmp_path}")


def test_what_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a root"):
        load_set("kinetics400:")
    with pytest.raises(DataError, match="There is no folder"):
        load_set(f"kinetics400:{tmp_path / 'none'}")
    with pytest.raises(DataError, match="holds no CSV and no list files"):
        load_set(f"kinetics400:{tmp_path}")
    with pytest.raises(UsageError, match="brings its own split"):
        load_set(f"kinetics400:{tmp_path}", SplitConfig(seed=1))
    table(tmp_path, "train.csv", "a,x,0,10", header="label,youtube,time_start,time_end\n")
    with pytest.raises(DataError, match=r"no column 'youtube_id'.*Should 'youtube'"):
        load_set(f"kinetics400:{tmp_path}")
    table(tmp_path, "train.csv", "x,0,10", header="youtube_id,time_start,time_end\n")
    with pytest.raises(DataError, match="no column 'label'"):
        load_set(f"kinetics400:{tmp_path}")
    table(tmp_path, "train.csv")
    touch(tmp_path, "a.mp4")
    with pytest.raises(DataError, match="only one class"):
        load_set(f"kinetics400:{tmp_path}")


CELL = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "a",
        "b c",
        '"',
        "0",
        "10",
        "-3",
        "1e9",
        "nan",
        "../a",
        "/x",
        "train",
        "val",
        "ä",
        "\ufeff",
        "\r",
        "aaaaaaaaaaa",
        "a.mp4",
    ]
)


@given(
    st.lists(st.lists(CELL, min_size=1, max_size=6), max_size=5), st.sampled_from(["train.csv", "val.txt", "test.csv"])
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_malformed_rows_never_end_in_another_error(tmp_path: Path, cells: list[list[str]], name: str) -> None:
    touch(tmp_path, "train/a/aaaaaaaaaaa_000000_000010.mp4", "b c/a.mp4")
    for file in (*tmp_path.glob("*.csv"), *tmp_path.glob("*.txt")):
        file.unlink()
    text = "".join((" " if name.endswith("txt") else ",").join(row) + "\n" for row in cells)
    good = "a,aaaaaaaaaaa,0,10,train\n" if name.endswith("csv") else "b c/a.mp4 b c\n"
    header = HEADER if name.endswith("csv") else ""
    (tmp_path / name).write_bytes((header + good + text).encode())
    try:
        found = load_set(f"kinetics400:{tmp_path}")
    except DataError as error:
        message = str(error)
    else:
        message = str(tmp_path)
        check_rows(found, tmp_path)
    assert str(tmp_path) in message


def check_rows(found: Manifest, root: Path) -> None:
    for row in found.rows:
        assert Path(row.path).is_file()
        assert Path(row.path).resolve().is_relative_to(root)
        assert 0 <= row.labels[0] < len(found.classes)


@pytest.mark.parametrize("number", [400, 600, 700])
def test_sorted_names_are_the_official_numbers(shared: Path, tmp_path: Path, number: int) -> None:
    official = (shared / MMACTION.format(number)).read_text().splitlines()
    names = [f'"{name}"' if number == 600 else name.replace(" ", "_") for name in reversed(official)]
    table(tmp_path, "train.csv", *(f"{name},id{i},0,10,train" for i, name in enumerate(names)))
    touch(tmp_path, "train/id0_000000_000010.mp4")
    found = load_set(f"kinetics{number}:{tmp_path}")
    assert found.classes == tuple(official)
    assert found.rows[0].labels == (number - 1,)


def test_the_three_lists_of_400_classes_agree(shared: Path) -> None:
    mmaction = read_class_list(shared / MMACTION.format(400))
    nonlocal_names = json.loads((shared / NONLOCAL / "classids.json").read_text())
    # The one difference: video-nonlocal-net keeps the quotes of the owner's JSON around names of several words.
    assert sum(name.startswith('"') for name in nonlocal_names) == sum(" " in name for name in mmaction.names) == 320
    assert read_class_list(shared / NONLOCAL / "classids.json").names == mmaction.names
    assert read_class_list(shared / RAIVOKOOT).names == mmaction.names


def test_the_real_validation_list(shared: Path, tmp_path: Path) -> None:
    for name in ("vallist.txt", "classids.json"):
        (tmp_path / name).write_bytes((shared / NONLOCAL / name).read_bytes())
    touch(tmp_path, "val/massaging person's head/-huT_p-r_zA.mp4", "val/abseiling/0wR5jVB-WPk.mkv")
    found = load_set(f"kinetics400:{tmp_path}")
    assert (len(found.rows), len(found.absent), len(found.classes)) == (2, 19759, 400)
    assert {row.labels[0] for row in found.rows} == {0, 196}
    (tmp_path / "classids.json").unlink()
    assert load_set(f"kinetics400:{tmp_path}").classes == found.classes


def test_class_names_are_found_in_any_spelling() -> None:
    classes = ClassList(["massaging person's head", "passing American football (in game)"], "here")
    assert classes.number("massaging_person\u2019s_head") == 0
    assert classes.number('"passing american football (in game)"') == 1
    assert classes.number("massaging persons head") == 0
    assert classes.number("massaging") is None


def test_a_replacement_is_taken_before_the_clip_that_is_broken(tmp_path: Path) -> None:
    clip = "aaaaaaaaaaa_000010_000020.mp4"
    touch(tmp_path, f"train/{clip}", f"replacement/replacement_for_corrupted_k400/{clip}", "val/bbbbbbbbbbb_0_10.mp4")
    table(tmp_path, "annotations/train.csv", "riding a bike,aaaaaaaaaaa,10,20,train")
    table(tmp_path, "annotations/val.csv", "zumba,bbbbbbbbbbb,0,10,val")
    assert where(tmp_path, load_set(f"kinetics400:{tmp_path}")) == {
        f"replacement/replacement_for_corrupted_k400/{clip}": ("riding a bike", "train"),
        "val/bbbbbbbbbbb_0_10.mp4": ("zumba", "val"),
    }


def test_lists_of_image_folders_are_left_to_the_list_set(tmp_path: Path) -> None:
    for side in ("train", "val"):
        (tmp_path / f"kinetics400_{side}_list_rawframes.txt").write_text("zumba/bbbbbbbbbbb_0_10 300 1\n")
    hint = "Use list:.*kinetics400_train_list_rawframes.txt,format=rawframes"
    with pytest.raises(DataError, match=hint):
        load_set(f"kinetics400:{tmp_path}")
    touch(tmp_path, "videos_train/a/aaaaaaaaaaa_0_10.mp4", "videos_train/b/bbbbbbbbbbb_0_10.mp4")
    lines = "a/aaaaaaaaaaa_0_10.mp4 0\nb/bbbbbbbbbbb_0_10.mp4 1\n"
    (tmp_path / "kinetics400_train_list_videos_of_mine.txt").write_text(lines)
    assert load_set(f"kinetics400:{tmp_path}").splits() == {"train": 2}


def test_options_that_have_no_use_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/aaaaaaaaaaa_0_10.mp4", "train/b/bbbbbbbbbbb_0_10.mp4")
    (tmp_path / "train.txt").write_text("train/a/aaaaaaaaaaa_0_10.mp4 0\ntrain/b/bbbbbbbbbbb_0_10.mp4 1\n")
    with pytest.raises(UsageError, match="untrimmed is for CSV"):
        load_set(f"kinetics400:{tmp_path},untrimmed=true")
    table(tmp_path, "train.csv", "a,aaaaaaaaaaa,0,10,train", "b,bbbbbbbbbbb,0,10,train")
    assert load_set(f"kinetics400:{tmp_path},untrimmed=true").splits() == {"train": 2}
    with pytest.raises(UsageError, match="strip_prefix is for list files"):
        load_set(f"kinetics400:{tmp_path},strip_prefix=/data")
