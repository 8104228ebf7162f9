"""EPIC-Kitchens-100: official-format files, the real validation list, joint labels, and damaged rows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinelite.config import SplitConfig
from kinelite.data.decode import read_clip
from kinelite.data.manifest import Manifest
from kinelite.data.sets import find_set, load_set
from kinelite.errors import DataError, UsageError

HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)
VERBS = "id,key,instances,category\n0,take,\"['take', 'get']\",retrieve\n1,turn-on,['on'],access\n"
NOUNS = "id,key,instances,category\n0,tap,['tap'],a\n1,cup,['cup'],b\n2,bag:plastic,['bag'],c\n"


def row(
    number: int, video: str, verb: int | str, noun: int | str, times: str = "00:00:01.50,00:01:02.25,45,1867"
) -> str:
    lists = "\"['x', 'y']\",\"[1, 2]\""
    return f'{video}_{number},{video[:3]},{video},00:00:01.1,{times},"take, it",x,{verb},x,{noun},{lists}'


TRAIN = [row(0, "P01_01", 1, 0), row(1, "P01_01", 0, 2), row(10, "P02_101", 0, 1), row(2, "P01_01", 1, 0)]
VAL = [row(0, "P01_11", 0, 1), row(1, "P01_11", 1, 1)]


def make(
    root: Path,
    train: Sequence[str] | None = TRAIN,
    val: Sequence[str] | None = VAL,
    place: str = ".",
    newline: str = "\n",
) -> str:
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "EPIC_100_verb_classes.csv").write_text(VERBS)
    (folder / "EPIC_100_noun_classes.csv").write_text(NOUNS)
    for name, rows in (("train", train), ("validation", val)):
        if rows is not None:
            text = newline.join([HEADER, *rows, ""])
            (folder / f"EPIC_100_{name}.csv").write_bytes(text.encode("utf-8-sig" if newline == "\r\n" else "utf-8"))
    return f"epic100:{root}"


def touch(root: Path, template: str) -> None:
    """A file for each of three videos; {p} is the person, {v} the video."""
    for video in ("P01_01", "P02_101", "P01_11"):
        file = root / template.format(p=video[:3], v=video)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.mark.parametrize("place", [".", "annotations", "epic-kitchens-100-annotations"])
@pytest.mark.parametrize("template", ["{p}/videos/{v}.MP4", "EPIC-KITCHENS/{p}/videos/{v}.MP4", "videos/{v}.mp4"])
def test_videos(tmp_path: Path, place: str, template: str) -> None:
    spec = make(tmp_path, place=place, newline="\r\n")
    touch(tmp_path, template)
    found = load_set(spec)
    assert found.tasks == {"verb": ("take", "turn-on"), "noun": ("tap", "cup", "bag:plastic")}
    assert [r.labels for r in found.rows] == [(1, 0), (0, 2), (0, 1), (1, 0), (0, 1), (1, 1)]
    assert [r.split for r in found.rows] == ["train"] * 4 + ["val"] * 2
    assert Path(found.rows[2].path) == tmp_path / template.format(p="P02", v="P02_101")
    assert {(r.start_s, r.end_s) for r in found.rows} == {(1.5, 62.25)}
    assert [r.group for r in found.rows] == ["P01_01", "P01_01", "P02_101", "P01_01", "P01_11", "P01_11"]
    assert (found.policy, found.absent) == ("lightweight_epic", ())
    assert found.notes == (
        "Split by the owner's lists: train 4 segments, val 2 segments.",
        "1 val segments show one of 1 pairs of verb and noun that train never shows.",
    )


@pytest.mark.parametrize("template", ["{p}/rgb_frames/{v}/", "EPIC-KITCHENS/{p}/rgb_frames/{v}/"])
def test_frames_are_addressed_by_their_numbers(tmp_path: Path, template: str) -> None:
    spec = make(tmp_path)
    touch(tmp_path, template + "frame_0000000001.jpg")
    touch(tmp_path, template.replace("rgb", "flow") + "u/frame_0000000001.jpg")
    found = load_set(spec)
    place = template.format(p="P02", v="P02_101")
    assert Path(found.rows[2].path) == tmp_path / place / "frame_%010d.jpg"
    assert {(r.start_s, r.end_s) for r in found.rows} == {(45 / 30, 1868 / 30)}


def test_media_can_be_chosen(tmp_path: Path) -> None:
    spec = make(tmp_path)
    touch(tmp_path, "{p}/rgb_frames/{v}/frame_0000000001.jpg")
    touch(tmp_path, "{p}/videos/{v}.MP4")
    suffixes = {
        media: {Path(r.path).suffix for r in load_set(f"{spec},media={media}").rows} for media in ("auto", "frames")
    }
    assert suffixes == {"auto": {".MP4"}, "frames": {".jpg"}}
    with pytest.raises(UsageError, match="media: auto or videos or frames"):
        load_set(f"{spec},media=images")


def test_the_frames_of_a_segment_are_those_of_its_numbers(tmp_path: Path) -> None:
    spec = make(tmp_path, [row(0, "P01_01", 0, 0, "00:00:00.00,00:00:01.00,3,6")], [])
    folder = tmp_path / "P01/rgb_frames/P01_01"
    folder.mkdir(parents=True)
    for number in range(1, 9):
        cv2.imwrite(str(folder / f"frame_{number:010d}.jpg"), np.full((16, 16, 3), 20 * number, np.uint8))
    (only,) = load_set(spec).rows
    clip = read_clip(only.path, 4, start_s=only.start_s, end_s=only.end_s)
    assert [round(frame.mean() / 20) for frame in clip.frames] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("heads", "labels", "members"),
    [
        ("verb+noun", (0, 1), 0),
        ("verb+noun+action", (0, 1, 0), 4),
        ("action", (0,), 4),
    ],
)
def test_actions_are_pairs(tmp_path: Path, heads: str, labels: tuple[int, ...], members: int) -> None:
    touch(tmp_path, "{v}.MP4")
    found = load_set(f"{make(tmp_path)},heads={heads}")
    assert list(found.tasks) == heads.split("+")
    assert found.rows[2].labels == labels
    joint = found.joint
    assert joint is not None
    assert (joint.name, list(joint.parts), len(joint.members)) == ("action", ["verb", "noun"], members)
    if members:
        # Sorted pairs of train, then the one that only val has.
        assert joint.members == ((0, 1), (0, 2), (1, 0), (1, 1))
        assert found.tasks["action"] == ("take cup", "take bag:plastic", "turn-on tap", "turn-on cup")
        action = list(found.tasks).index("action")
        assert [r.labels[action] for r in found.rows] == [2, 1, 0, 2, 0, 3]


def test_missing_videos_and_lists(tmp_path: Path) -> None:
    spec = make(tmp_path)
    with pytest.raises(DataError, match=r"(?s)None of the 6 segments has its video below.*P01/videos/P01_01.MP4"):
        load_set(spec)
    touch(tmp_path, "{v}.MP4")
    (tmp_path / "P01_11.MP4").unlink()
    (tmp_path / "EPIC_100_test_timestamps.csv").write_text("narration_id\nP01_101_0\nP01_101_1\n")
    found = load_set(spec)
    assert found.absent == ("P01_11 (P01_11_0)", "P01_11 (P01_11_1)")
    assert found.notes[-2:] == (
        "Left out: the 2 segments of EPIC_100_test_timestamps.csv, because the owner keeps their labels.",
        "Left out: 2 of 6 segments, because 1 videos are missing.",
    )
    (tmp_path / "EPIC_100_validation.csv").unlink()
    assert "EPIC_100_validation.csv is not there, so the set has no val split." in load_set(spec).notes
    (tmp_path / "EPIC_100_train.csv").unlink()
    with pytest.raises(DataError, match=r"neither EPIC_100_train.csv nor EPIC_100_validation.csv"):
        load_set(spec)
    with pytest.raises(DataError, match=r"holds no file EPIC_100_verb_classes.csv"):
        load_set(f"{spec},annotations={tmp_path / 'none'}")
    with pytest.raises(UsageError, match="brings its own split"):
        load_set(spec, SplitConfig(group="x"))


def test_a_video_on_both_sides_is_no_group(tmp_path: Path) -> None:
    touch(tmp_path, "{v}.MP4")
    found = load_set(make(tmp_path, val=[row(77, "P01_01", 0, 1)]))
    assert {r.group for r in found.rows} == {""}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(5, "P01_01", 2, 0), "line 6: verb_class is '2'; allowed: whole numbers, 0 to 1"),
        (row(5, "P01_01", "-1", 0), "line 6: verb_class is '-1'"),
        (row(5, "P01_01", 0, "1.0"), r"line 6: noun_class is '1\.0'; allowed: whole numbers, 0 to 2"),
        (row(0, "P01_01", 0, 0), r"line 6: the segment 'P01_01_0' is in .*EPIC_100_train.csv, line 2"),
        (row(5, "P01_01", 0, 0, "00:00:02.00,00:00:01.00,1,2"), "line 6: the clip ends at 1 s and begins at 2 s"),
        (row(5, "P01_01", 0, 0, "-0:00:02.00,00:00:03.00,1,2"), "line 6: start_timestamp '-0:00:02.00' is not a time"),
        (row(5, "P01_01", 0, 0, "00:61:02.00,90:00:03.00,1,2"), "line 6: start_timestamp '00:61:02.00' is not a time"),
        (row(5, "P01_01", 0, 0) + ",x", "line 6: 16 cells, but there are 15 columns"),
        ("," + row(5, "P01_01", 0, 0).partition(",")[2], "line 6: narration_id is empty"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, bad: str, message: str) -> None:
    touch(tmp_path, "{v}.MP4")
    with pytest.raises(DataError, match=message):
        load_set(make(tmp_path, [*TRAIN, bad]))


@pytest.mark.parametrize("times", ["00:00:00.00,00:00:01.00,9,8", "00:00:00.00,00:00:01.00,-1,8", "0,0,1,99999999999"])
def test_damaged_frame_numbers_are_named(tmp_path: Path, times: str) -> None:
    touch(tmp_path, "{v}/frame_0000000001.jpg")
    with pytest.raises(
        DataError, match=r"line 6: (the last frame 8 comes before|start_frame is '-1'|stop_frame is '9+')"
    ):
        load_set(make(tmp_path, [*TRAIN, row(5, "P01_01", 0, 0, times)]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,key\n0,take\n2,put\n", "line 3: class 'put' with id 2; expected a new name with id 1"),
        ("id,key\n0,take\n1,take\n", "line 3: class 'take' with id 1"),
        ("id,name\n0,take\n", "has no column 'key'"),
        ("id,key\n", "no classes"),
    ],
)
def test_damaged_class_lists_are_named(tmp_path: Path, text: str, message: str) -> None:
    spec = make(tmp_path)
    (tmp_path / "EPIC_100_verb_classes.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_set(spec)


GOOD = ["P01_01_9", "P01", "P01_01", "x", "00:00:01.50", "00:00:02", "45", "60", "x", "x", "1", "x", "2", "[]", "[]"]
ODD = [
    "",
    "0",
    "-1",
    "1.5",
    "P02_101",
    "../P01_01",
    "/P01_01",
    "00:00:01.5",
    "00:00:09",
    "-0:0:1",
    "ü",
    "nan",
    '"',
    "9" * 30,
]


def outcome(spec: str) -> Manifest | DataError:
    try:
        return load_set(spec)
    except DataError as error:
        return error


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.integers(0, 14), st.sampled_from(ODD), max_size=2),
    st.integers(13, 15),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["{v}.MP4", "{v}/frame_0000000001.jpg"]),
)
def test_any_row_is_read_right_or_named(
    tmp_path: Path, odd: dict[int, str], cells: int, newline: str, template: str
) -> None:
    root = tmp_path / template[-3:]
    touch(root, template)
    line = [odd.get(i, cell) for i, cell in enumerate(GOOD)][:cells]
    found = outcome(make(root, [*TRAIN, ",".join(line)], newline=newline))
    if isinstance(found, DataError):
        assert "EPIC_100_train.csv, line 6" in str(found) or "EPIC_100_train.csv, line 7" in str(found)
        return
    there = line[2] in ("P01_01", "P02_101", "P01_11")
    assert (len(found.rows), len(found.absent)) == (7, 0) if there else (6, 1)
    if there:
        new = found.rows[4]
        assert Path(new.path) == (root / template.format(v=line[2])).with_name(
            f"{line[2]}.MP4" if "MP4" in template else "frame_%010d.jpg"
        )
        assert new.labels == (int(line[10]), int(line[12]))
        by_number = (int(line[6]) / 30, (int(line[7]) + 1) / 30) if "jpg" in template else None
        assert by_number is None or (new.start_s, new.end_s) == by_number
        assert 0 <= (new.start_s or 0) < (new.end_s or 0)


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, str]]]:
    """The owner's files (train is not at hand), and an empty image for each video."""
    root = tmp_path_factory.mktemp("epic")
    annotations = shared / "data/annotations/epic-kitchens-100"
    with (annotations / "EPIC_100_validation.csv").open() as file:
        lines = list(csv.DictReader(file))
    for video in {line["video_id"] for line in lines}:
        folder = root / video[:3] / "rgb_frames" / video
        folder.mkdir(parents=True)
        (folder / "frame_0000000001.jpg").touch()
    return f"epic100:{root},annotations={annotations}", lines


def test_the_real_validation_list(real: tuple[str, list[dict[str, str]]]) -> None:
    spec, lines = real
    found = load_set(f"{spec},heads=verb+noun+action")
    published = find_set("epic100").published
    assert found.splits() == {"val": published["val"]} == {"val": 9668}
    assert {f"classes {task}": len(found.tasks[task]) for task in ("verb", "noun")}.items() <= published.items()
    assert [r.labels[:2] for r in found.rows] == [(int(x["verb_class"]), int(x["noun_class"])) for x in lines]
    assert found.joint is not None
    assert [found.joint.members[r.labels[2]] for r in found.rows] == [r.labels[:2] for r in found.rows]
    assert len(found.tasks["action"]) == len(set(found.tasks["action"])) == 1352
    frames = [(round((r.start_s or 0) * 30), round((r.end_s or 0) * 30) - 1) for r in found.rows]
    assert frames == [(int(x["start_frame"]), int(x["stop_frame"])) for x in lines]
    assert any("13092 segments of EPIC_100_test_timestamps.csv" in note for note in found.notes)


def test_real_pairs_of_train_and_validation(
    shared: Path, real: tuple[str, list[dict[str, str]]], tmp_path: Path
) -> None:
    """The numbers of the docstring, from the training list that another project has published."""
    spec, _ = real
    text = (shared / "data/annotations/raivokoot/EpicKitchens100__EPIC_100_train_new.txt").read_text()
    for name in ("validation", "verb_classes", "noun_classes"):
        (tmp_path / f"EPIC_100_{name}.csv").symlink_to(Path(spec.partition("annotations=")[2]) / f"EPIC_100_{name}.csv")
    pieces = [line.split() for line in text.splitlines()]
    rows = [
        row(i, path[-8:].strip("/s").split("/")[-1], verb, noun, f"0,0,{start},{end}")
        for i, (path, start, end, verb, noun) in enumerate(pieces)
    ]
    (tmp_path / "EPIC_100_train.csv").write_text("\n".join([HEADER, *rows]))
    root = spec.partition(":")[2].partition(",")[0]
    found = load_set(f"epic100:{root},heads=action,annotations={tmp_path}")
    assert len(found.tasks["action"]) == 3806
    assert "372 val segments show one of 238 pairs of verb and noun that train never shows." in found.notes
    assert "Split by the owner's lists: train 67217 segments, val 9668 segments." in found.notes
    assert len(found.absent) == 67217
    assert {r.labels[0] for r in found.rows if r.labels[0] >= 3568} == set(range(3568, 3806))


def test_times_of_long_videos(tmp_path: Path) -> None:
    spec = make(tmp_path, [row(0, "P01_01", 0, 0, "01:02:03.50,01:02:05.25,1,2"), row(1, "P01_01", 1, 1)], None)
    touch(tmp_path, "{p}/videos/{v}.MP4")
    assert [(r.start_s, r.end_s) for r in load_set(spec).rows] == [(3723.5, 3725.25), (1.5, 62.25)]
