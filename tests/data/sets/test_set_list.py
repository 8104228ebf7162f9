"""Lists: every shape that they come in, real ones, and damaged lines."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinelite.config import SplitConfig
from kinelite.data.decode import probe, read_clip
from kinelite.data.manifest import Joint, Manifest
from kinelite.data.sets import load_set
from kinelite.errors import DataError, UsageError

VIDEOS = [f"clips/{name}.mp4" for name in "abcdef"]


def make(
    root: Path, lines: list[str] | str, name: str = "test_list.txt", newline: str = "\n", bom: bool = False
) -> str:
    """A list beside six videos and three folders of eight images, which start at 1. By its name it is not divided."""
    for video in [*VIDEOS, "clips/with space 7.mp4", "clips/with, comma.mp4", "clips/ü.mp4"]:
        (root / video).parent.mkdir(parents=True, exist_ok=True)
        (root / video).touch()
    for folder in ("frames/1", "frames/2", "frames/3"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(1, 9):
            (root / folder / f"img_{number:05d}.jpg").touch()
            (root / folder / f"flow_x_{number:05d}.jpg").touch()
    text = lines if isinstance(lines, str) else newline.join([*lines, ""])
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
    return f"list:{root / name}"


def rows(found: Manifest, root: Path) -> list[tuple[Any, ...]]:
    """Path below the root, labels, and the part as frame numbers."""
    return [
        (
            Path(row.path).relative_to(root).as_posix(),
            row.labels,
            None if row.start_s is None else round(row.start_s * 30, 6),
            None if row.end_s is None else round(row.end_s * 30, 6) - 1,
        )
        for row in found.rows
    ]


@pytest.mark.parametrize("mark", [" ", "\t", ",", "   "])
@pytest.mark.parametrize(("newline", "bom"), [("\n", False), ("\r\n", True)])
def test_path_and_label(tmp_path: Path, mark: str, newline: str, bom: bool) -> None:
    names = [*VIDEOS, "clips/with space 7.mp4", "clips/with, comma.mp4", "clips/ü.mp4"]
    lines = [f"{name}{mark}{2 * (i % 2)}" for i, name in enumerate(names)]
    found = load_set(make(tmp_path, lines, "clips.txt", newline, bom))
    assert rows(found, tmp_path) == [(name, (2 * (i % 2),), None, None) for i, name in enumerate(names)]
    # Class 1 has no clip and keeps its place.
    assert found.tasks == {"label": ("0", "1", "2")}
    assert set(found.splits()) == {"train", "val"}
    assert found.notes[0].startswith("Split at random, 20% of each class")


def test_names_as_labels(tmp_path: Path) -> None:
    found = load_set(make(tmp_path, [f"{name} {('jump', 'run')[i % 2]}" for i, name in enumerate(VIDEOS)]))
    assert (found.classes, [row.labels[0] for row in found.rows]) == (("jump", "run"), [0, 1] * 3)
    found = load_set(make(tmp_path, [f'"{name}",jump {i % 2} x' for i, name in enumerate(VIDEOS)]) + ",separator=comma")
    assert (found.classes, [row.labels[0] for row in found.rows]) == (("jump 0 x", "jump 1 x"), [0, 1] * 3)


def test_parts_by_frame_number_take_the_first_folders_pattern(tmp_path: Path) -> None:
    found = load_set(
        make(tmp_path, ["frames/1 1 8 0", "frames/1/ 3 3 1", "frames/2 0 6 0", "frames/3 2 4 1"], "clips.txt")
    )
    assert rows(found, tmp_path) == [
        ("frames/1/img_%05d.jpg", (0,), 1, 8),
        ("frames/1/img_%05d.jpg", (1,), 3, 3),
        ("frames/2/img_%05d.jpg", (0,), 0, 6),
        ("frames/3/img_%05d.jpg", (1,), 2, 4),
    ]
    assert any("Images are called img_%05d.jpg, as in" in note for note in found.notes)
    sides = {row.path: row.split for row in found.rows}
    assert all(row.split == sides[row.path] for row in found.rows)


def test_the_frames_of_a_part_are_those_of_its_numbers(tmp_path: Path) -> None:
    spec = make(tmp_path, ["frames/1 3 6 0", "frames/2 1 8 1"])
    for number in range(1, 9):
        cv2.imwrite(str(tmp_path / f"frames/1/img_{number:05d}.jpg"), np.full((16, 16, 3), 20 * number, np.uint8))
    first = load_set(spec).rows[0]
    clip = read_clip(first.path, 4, start_s=first.start_s, end_s=first.end_s)
    assert [round(frame.mean() / 20) for frame in clip.frames] == [3, 4, 5, 6]


def test_a_pattern_that_is_given_or_written_out(tmp_path: Path) -> None:
    lines = ["frames/1 1 8 0", "frames/2 1 8 1"]
    found = load_set(make(tmp_path, lines) + ",pattern=flow_x_%05d.jpg")
    assert {Path(row.path).name for row in found.rows} == {"flow_x_%05d.jpg"}
    found = load_set(make(tmp_path, [line.replace(" 1 8", "/img_%05d.jpg 2 4") for line in lines]))
    assert rows(found, tmp_path)[1] == ("frames/2/img_%05d.jpg", (1,), 2, 4)
    found = load_set(make(tmp_path, ["frames/1 0", "frames/2 1"]))
    assert [Path(row.path).name for row in found.rows] == ["1", "2"]
    with pytest.raises(UsageError, match=r"pattern=img\.jpg: give a name with one number"):
        load_set(make(tmp_path, lines) + ",pattern=img.jpg")


def test_several_labels_and_what_they_make(tmp_path: Path) -> None:
    lines = ["frames/1 1 4 0 2", "frames/1 5 8 1 1", "frames/2 1 8 0 0", "frames/3 1 8 1 2"]
    found = load_set(make(tmp_path, lines))
    assert found.tasks == {"label_1": ("0", "1"), "label_2": ("0", "1", "2")}
    assert [row.labels for row in found.rows] == [(0, 2), (1, 1), (0, 0), (1, 2)]
    found = load_set(make(tmp_path, lines) + ",tasks=verb+noun,joint=action")
    assert list(found.tasks) == ["verb", "noun"]
    assert found.joint == Joint("action", {"verb": ("0", "1"), "noun": ("0", "1", "2")})
    with pytest.raises(UsageError, match=r"tasks=verb\+verb: 'verb' cannot be"):
        load_set(make(tmp_path, lines) + ",tasks=verb+verb")


def test_seconds(tmp_path: Path) -> None:
    lines = ["clips/a.mp4 0 1.5 0", "clips/a.mp4 1.5 4 1", "clips/b.mp4 .5 2 0", "clips/c.mp4 3 9.25 1"]
    spec = make(tmp_path, lines)
    found = load_set(f"{spec},unit=s")
    assert [(row.start_s, row.end_s) for row in found.rows] == [(0, 1.5), (1.5, 4), (0.5, 2), (3, 9.25)]
    with pytest.raises(DataError, match=r"line 1: end '1.5'|line 1: end is '1.5'"):
        load_set(spec)
    with pytest.raises(
        DataError, match=r"line 1: clips/a.mp4 is a video, so start and end must be seconds: say unit=s"
    ):
        load_set(make(tmp_path, ["clips/a.mp4 0 1 0", "clips/b.mp4 0 1 1"]))


def test_rawframes(tmp_path: Path) -> None:
    lines = ["frames/1 8 0", "frames/2 8 1"]
    with pytest.raises(UsageError, match=r"line 1: two numbers after the path .* format=rawframes"):
        load_set(make(tmp_path, lines))
    found = load_set(make(tmp_path, lines) + ",format=rawframes")
    # Colour images, though flow lies beside them.
    assert rows(found, tmp_path) == [
        ("frames/1/img_%05d.jpg", (0,), None, None),
        ("frames/2/img_%05d.jpg", (1,), None, None),
    ]
    assert load_set(make(tmp_path, lines) + ",format=labels").rows[0].labels == (8, 0)
    assert load_set(make(tmp_path, lines) + ",tasks=a+b").tasks.keys() == {"a", "b"}
    with pytest.raises(DataError, match="line 2: the clip has 0 frames"):
        load_set(make(tmp_path, ["frames/1 8 0", "frames/2 0 1"]) + ",format=rawframes")


def test_columns_by_name(tmp_path: Path) -> None:
    lines = [f"{name} {i % 2 + 3} {(1, 1, 2)[i // 2]} 99" for i, name in enumerate(VIDEOS)]
    found = load_set(make(tmp_path, lines) + ",format=path+kind+split+skip")
    assert list(found.tasks) == ["kind"]
    assert [(row.labels[0], row.split) for row in found.rows] == [
        (3 + i % 2, "test" if i > 3 else "train") for i in range(6)
    ]
    with pytest.raises(DataError, match=r"line 1: unknown split '3'. Allowed: train"):
        load_set(make(tmp_path, lines) + ",format=path+split+a+b")
    for wrong in ("path+start+label", "label+path", "path+split", "path+a+a", "path++a"):
        with pytest.raises(UsageError, match="path first, then any of"):
            load_set(make(tmp_path, lines) + f",format={wrong}")
    with pytest.raises(UsageError, match="format=frames: give auto, labels, parts, rawframes, or the columns"):
        load_set(make(tmp_path, lines) + ",format=frames")


@pytest.mark.parametrize(
    ("train", "beside", "side"),
    [
        ("train.txt", "val.txt", "val"),
        ("x_train_list.txt", "x_validation_list.txt", "val"),
        ("trainlist01.txt", "testlist01.txt", "test"),
    ],
)
def test_the_list_beside(tmp_path: Path, train: str, beside: str, side: str) -> None:
    make(tmp_path, ["clips/e.mp4 0", "clips/f.mp4 1"], beside)
    spec = make(tmp_path, ["clips/a.mp4 0", "clips/b.mp4 1"], train)
    found = load_set(spec)
    assert [row.split for row in found.rows] == ["train"] * 2 + [side] * 2
    assert f"{beside} beside {train} is the {side} split." in found.notes
    with pytest.raises(UsageError, match="comes with its split"):
        load_set(spec, SplitConfig(seed=1))
    assert load_set(f"list:{tmp_path / beside}").splits() == {side: 2}
    # The split stays what the lists say when the files of one side are missing.
    (tmp_path / "clips/e.mp4").unlink()
    (tmp_path / "clips/f.mp4").unlink()
    assert load_set(spec).splits() == {"train": 2}


def test_a_second_list_a_root_and_classes(tmp_path: Path) -> None:
    make(tmp_path, ["c.mp4 7", "d.mp4 4"], "lists/b.txt")
    make(tmp_path, ["a.mp4 4", "b.mp4 7"], "lists/a.txt")
    (tmp_path / "classes.txt").write_text("7 to run\n4 to jump\n5 nothing\n")
    spec = (
        f"list:{tmp_path}/lists/a.txt,val={tmp_path}/lists/b.txt,root={tmp_path}/clips,classes={tmp_path}/classes.txt"
    )
    found = load_set(spec)
    assert found.classes == ("to jump", "nothing", "to run")
    assert rows(found, tmp_path) == [
        (f"clips/{n}.mp4", (k,), None, None) for n, k in zip("abcd", (0, 2, 2, 0), strict=True)
    ]
    assert found.splits() == {"train": 2, "val": 2}
    (tmp_path / "classes.txt").write_text("to jump\nto run\n")
    with pytest.raises(DataError, match=r"a.txt, line 1: label '4' is none of the 2 of .*classes.txt"):
        load_set(spec)
    with pytest.raises(UsageError, match="2 files for 1 labels"):
        load_set(f"{spec}+{tmp_path}/classes.txt")
    make(tmp_path, ["c.mp4 7", "./d/../b.mp4 7"], "lists/b.txt")
    (tmp_path / "clips/d").mkdir()
    with pytest.raises(DataError, match="same clip is in train and in val"):
        load_set(spec.rpartition(",")[0])


@pytest.mark.parametrize(
    ("name", "text", "classes"),
    [
        ("c.txt", "jump\nrun\n", ("jump", "run")),
        ("c.txt", "1 jump\n2 run\n", ("jump", "run")),
        ("c.csv", "id,name\n1,run\n0,jump\n", ("jump", "run")),
        ("c.csv", "id,key,instances\n0,jump,\"['a', 'b']\"\n1,run,x\n", ("jump", "run")),
    ],
)
def test_class_files(tmp_path: Path, name: str, text: str, classes: tuple[str, ...]) -> None:
    (tmp_path / name).write_text(text)
    found = load_set(make(tmp_path, ["clips/a.mp4 jump", "clips/b.mp4 run"]) + f",classes={tmp_path / name}")
    assert found.classes == classes
    assert [row.labels for row in found.rows] == [(0,), (1,)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.txt", "", "holds no classes"),
        ("c.txt", "jump\njump\n", "line 2: the class 'jump' is there twice"),
        ("c.txt", "1 jump\n1 run\n", "the id 1 is there twice"),
        ("c.csv", "id,what\n1,run\n", "no column with names. Its columns: id, what"),
        ("c.csv", "id,name\nx,run\n", "line 2: id is 'x'"),
    ],
)
def test_damaged_class_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        load_set(make(tmp_path, ["clips/a.mp4 jump", "clips/b.mp4 run"]) + f",classes={tmp_path / name}")


def test_missing_clips_and_converted_ones(tmp_path: Path) -> None:
    lines = ["clips/a 0", "clips/b 1", "clips/none.mp4 0", "other/none.mp4 5", "clips/c.mp4 0", "clips/c.mp4 0"]
    found = load_set(make(tmp_path, lines))
    assert [Path(row.path).name for row in found.rows] == ["a.mp4", "b.mp4", "c.mp4", "c.mp4"]
    assert (found.absent, len(found.classes)) == (("clips/none.mp4", "other/none.mp4"), 6)
    assert found.notes[-2:] == (
        "Left out: 2 of 6 clips, because their files are missing.",
        "1 lines name a clip that an earlier line names; they count.",
    )
    with pytest.raises(DataError, match=r"None of the 2 clips of .* is below .*, such as clips/none.mp4"):
        load_set(make(tmp_path, lines[2:4]))


def test_paths_that_lead_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "away.mp4").touch()
    for path in ("../away.mp4", str(tmp_path / "away.mp4")):
        spec = make(tmp_path / "in", ["clips/a.mp4 0", f"{path} 1"])
        with pytest.raises(DataError, match=r"line 2: '.*away.mp4' leads out of"):
            load_set(spec)
        outside = load_set(f"{spec},outside=true").rows[1]
        assert Path(outside.path).resolve() == (tmp_path / "away.mp4").resolve()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["clips/a.mp4 0", "clips/b.mp4"], "line 2: 'clips/b.mp4' is not a path and 1 values"),
        (["clips/a.mp4 0", "clips/b.mp4 1", "clips/c.mp4 -1"], "line 3: label is '-1'"),
        (["clips/a.mp4 0", "clips/b.mp4 1", "clips/c.mp4 1.5"], "line 3: label is '1.5'"),
        (["clips/a.mp4 0", "clips/b.mp4 20210401"], "line 2: label is '20210401'; allowed: whole numbers, 0 to 99999"),
        (["frames/1 1 8 0", "frames/2 8 1 1"], "line 2: the last frame 1 comes before the first, 8"),
        (["frames/1 1 8 0", "frames/2 -1 8 1"], "line 2: start is '-1'"),
        (["frames/1 1 8 0", "frames/2 1 99999999999 1"], "line 2: end is '99999999999'"),
        ("", "is empty"),
        (" \n\n", "is empty"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, lines: list[str] | str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_set(make(tmp_path, lines))


def test_what_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a file"):
        load_set("list")
    with pytest.raises(DataError, match="does not exist"):
        load_set(f"list:{tmp_path / 'none.txt'}")
    with pytest.raises(DataError, match="is a folder"):
        load_set(f"list:{tmp_path}")
    with pytest.raises(DataError, match=r"no folder .*nowhere, in which the paths"):
        load_set(make(tmp_path, ["clips/a.mp4 0"]) + f",root={tmp_path / 'nowhere'}")
    (tmp_path / "latin.txt").write_bytes("clips/ü.mp4 0".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        load_set(f"list:{tmp_path / 'latin.txt'}")


PATH = st.sampled_from(
    [*VIDEOS, "clips/ü.mp4", "frames/1", "frames/2/", "../x.mp4", "/x.mp4", "clips/with space 7.mp4", '"']
)
CELL = st.sampled_from(["0", "1", "2", "7", "-1", "1.5", "nan", "9" * 30, "x", "ü", '"1"', "", "\0"])


def outcome(spec: str) -> Manifest | Exception:
    try:
        return load_set(spec)
    except (DataError, UsageError) as error:
        return error


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(PATH, st.lists(CELL, max_size=4)), max_size=4),
    st.sampled_from([" ", "\t", ","]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", ",unit=s", ",format=rawframes", ",format=labels"]),
)
def test_any_list_is_read_right_or_named(
    tmp_path: Path, lines: list[tuple[str, list[str]]], mark: str, newline: str, options: str
) -> None:
    spec = make(tmp_path, [mark.join([path, *cells]) for path, cells in lines], newline=newline)
    found = outcome(spec + options)
    if isinstance(found, Exception):
        assert str(tmp_path) in str(found) or "class" in str(found) or "held out" in str(found)
        return
    assert len(found.rows) + len(found.absent) == len(lines)
    for row in found.rows:
        assert tmp_path in Path(row.path).parents
        assert ".." not in row.path
        assert all(0 <= k < len(names) for k, names in zip(row.labels, found.tasks.values(), strict=True))
        assert row.start_s is None or 0 <= row.start_s < (row.end_s or 0)


REAL = "data/frame-folders"


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("demo_dataset", [(0,), (0,), (1,), (1,)]),
        ("demo_dataset_multilabel", [(0, 2, 4), (0, 1, 3), (1, 1, 2), (1, 3, 3)]),
    ],
)
def test_real_frame_folders(shared: Path, name: str, labels: list[tuple[int, ...]]) -> None:
    found = load_set(f"list:{shared / REAL / 'raivokoot' / name / 'annotations.txt'}")
    assert [row.labels for row in found.rows] == labels
    for row, last in zip(found.rows, (17, 18, 15, 15), strict=True):
        assert probe(row.path).packets == last
        assert round((row.start_s or 0) * 30) == 1
        assert round((row.end_s or 0) * 30) == last + 1
        assert read_clip(row.path, 4, start_s=row.start_s, end_s=row.end_s).frames.shape[0] == 4


def test_real_list_with_classes_and_subsets(shared: Path) -> None:
    top = shared / REAL / "ucf101-release"
    spec = (
        f"list:{top}/annos/videos_labels_subsets.txt,format=path+label+split,root={top}/images_class1,"
        f"classes={top}/annos/actions.txt"
    )
    found = load_set(spec)
    listed = [line.split() for line in (top / "annos/videos_labels_subsets.txt").read_text().splitlines()]
    assert len(found.rows) + len(found.absent) == len(listed)
    assert (len(found.classes), found.classes[0], found.classes[-1]) == (101, "ApplyEyeMakeup", "YoYo")
    assert [(Path(row.path).name, row.labels[0], row.split) for row in found.rows] == [
        (x[0], int(x[1]) - 1, {"1": "train", "2": "test"}[x[2]]) for x in listed[: len(found.rows)]
    ]
    assert all(probe(row.path).packets == 25 for row in found.rows)


@pytest.mark.parametrize(
    ("name", "options", "classes", "counts"),
    [
        ("EpicKitchens100__EPIC_100_validation_new", "tasks=verb+noun", [94, 296], (0, 9_668)),
        pytest.param(
            "EpicKitchens100__EPIC_100_train_new", "tasks=verb+noun", [97, 300], (67_217, 9_668), marks=pytest.mark.slow
        ),
        ("SomethingSomethingV2__something-something-v2-validation-processed", "unit=frames", [174], (0, 24_777)),
        ("Kinetics400__valid_processed", "unit=frames", [400], (0, 19_877)),
    ],
)
def test_real_lists(
    shared: Path, tmp_path: Path, name: str, options: str, classes: list[int], counts: tuple[int, int]
) -> None:
    file = shared / f"data/annotations/raivokoot/{name}.txt"
    lines = [line.split() for line in file.read_text().splitlines()]
    for folder in {line[0] for line in lines[:500]}:
        (tmp_path / folder).mkdir(parents=True)
    found = load_set(f"list:{file},root={tmp_path},{options}")
    assert [len(names) for names in found.tasks.values()] == classes
    assert len(found.rows) + len(found.absent) == sum(counts)
    assert Counter(row.split for row in found.rows)["val"] == (0 if counts[0] else len(found.rows))
    assert [row.labels for row in found.rows][:500] == [tuple(map(int, line[3:])) for line in lines[:500]]


@pytest.mark.parametrize("kind", ["videos", "rawframes"])
@pytest.mark.parametrize("homes", [("{}_train", "{}_val"), ("{}", "{}"), ("{}/training", "{}/validation")])
def test_mmactions_lists_leave_out_the_folder(tmp_path: Path, kind: str, homes: tuple[str, str]) -> None:
    expected = []
    for side, home in zip(("train", "val"), homes, strict=True):
        lines = []
        for label, name in enumerate(("run", "jump")):
            clip = tmp_path / home.format(kind) / name / f"{side}{label}"
            clip = clip.with_suffix(".mp4") if kind == "videos" else clip
            clip.parent.mkdir(parents=True, exist_ok=True)
            if kind == "videos":
                clip.touch()
            else:
                clip.mkdir()
                (clip / "img_00001.jpg").touch()
            lines.append(f"{name}/{clip.name} {'8 ' if kind == 'rawframes' else ''}{label}\n")
            expected.append((clip if kind == "videos" else clip / "img_%05d.jpg", label, side))
        (tmp_path / f"mine_{side}_list_{kind}.txt").write_text("".join(lines))
    form = ",format=rawframes" if kind == "rawframes" else ""
    found = load_set(f"list:{tmp_path}/mine_train_list_{kind}.txt{form}")
    assert [(Path(row.path), row.labels[0], row.split) for row in found.rows] == expected
    assert found.absent == ()


def test_the_lists_own_folder_comes_before_those_of_mmaction(tmp_path: Path) -> None:
    spec = make(tmp_path, [f"{name} {i % 2}" for i, name in enumerate(VIDEOS)])
    for name in VIDEOS:
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    assert [Path(row.path) for row in load_set(spec).rows] == [tmp_path / name for name in VIDEOS]
