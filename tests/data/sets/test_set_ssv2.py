"""Something-Something V2: official-format files, the real class list and counts, real clips, and damaged entries."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinelite.config import SplitConfig
from kinelite.data.decode import probe, read_clip
from kinelite.data.manifest import Manifest
from kinelite.data.sets import find_set, load_set
from kinelite.errors import DataError, UsageError

NAMES = ["Closing something", "Holding something next to something", "Something falling like a feather or paper"]
LABELS = {NAMES[2]: "2", NAMES[0]: "0", NAMES[1]: "1"}
TRAIN = [
    {"id": "78687", "label": "closing a box", "template": "Closing [something]", "placeholders": ["a box"]},
    {"id": "4", "label": "x", "template": "[Something] falling like a feather or paper", "placeholders": []},
]
VAL = [{"id": "9", "label": "x", "template": "Holding [something] next to [something]", "placeholders": []}]
TEST = [{"id": "11"}, {"id": "12"}]


def make(root: Path, prefix: str = "labels/", clips: str = "20bn-something-something-v2/{}.webm", **files: Any) -> str:
    given = {"labels": LABELS, "train": TRAIN, "validation": VAL} | files
    for name, value in given.items():
        if value is not None:
            file = root / f"{prefix}{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8-sig")
    for key in ("4", "9", "78687", "11", "12", "unlisted"):
        clip = root / clips.format(key)
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.touch()
    return f"ssv2:{root}"


@pytest.mark.parametrize("prefix", ["", "labels/", "annotations/", "something-something-v2-"])
@pytest.mark.parametrize(
    "clips",
    [
        "20bn-something-something-v2/{}.webm",
        "videos/{}.mp4",
        "videos/20bn-something-something-v2/{}.webm",
        "frames/{}/000001.jpg",
        "videos/{}/0001.jpg",
    ],
)
def test_layouts(tmp_path: Path, prefix: str, clips: str) -> None:
    found = load_set(make(tmp_path, prefix, clips))
    assert found.classes == tuple(NAMES)
    assert [(row.labels, row.split) for row in found.rows] == [((0,), "train"), ((2,), "train"), ((1,), "val")]
    paths = [tmp_path / clips.format(key) for key in ("78687", "4", "9")]
    assert [Path(row.path) for row in found.rows] == [p.parent if p.suffix == ".jpg" else p for p in paths]
    assert (found.absent, found.policy) == ((), "lightweight_ssv2")
    assert found.notes == ("Split by the owner's lists: train 2 clips, val 1 clips.",)


def test_a_video_is_taken_before_its_frames(tmp_path: Path) -> None:
    make(tmp_path, clips="frames/{}/000001.jpg")
    found = load_set(make(tmp_path, clips="videos/{}.webm"))
    assert {Path(row.path).suffix for row in found.rows} == {".webm"}


def test_the_test_list_needs_its_answers(tmp_path: Path) -> None:
    spec = make(tmp_path, test=TEST)
    assert load_set(spec).notes[-1] == "test.json is left out: the owner's test list has no labels."
    (tmp_path / "labels/test-answers.csv").write_text("12;Closing something\n11;Holding something next to something\n")
    found = load_set(spec)
    rows = [(Path(row.path).stem, row.labels) for row in found.only("test").rows]
    assert rows == [("12", (0,)), ("11", (1,))]
    (tmp_path / "labels/test-answers.csv").write_text("12;Closing something\n11;Opening something\n")
    with pytest.raises(DataError, match=r"test-answers.csv, line 2: 'Opening something' is none of the 3 classes"):
        load_set(spec)


def test_missing_clips_are_left_out_and_listed(tmp_path: Path) -> None:
    spec = make(tmp_path)
    (tmp_path / "20bn-something-something-v2/4.webm").unlink()
    found = load_set(spec)
    assert [Path(row.path).stem for row in found.rows] == ["78687", "9"]
    assert found.absent == ("4.webm",)
    assert "Left out: 1 of 3 clips, because their files are missing." in found.notes
    for file in tmp_path.glob("20bn*/*"):
        file.unlink()
    with pytest.raises(DataError, match=r"(?s)None of the 3 clips.*20bn-something-something-v2/ID.webm"):
        load_set(spec)


def test_one_list_is_enough(tmp_path: Path) -> None:
    found = load_set(make(tmp_path, train=None))
    assert found.splits() == {"val": 1}
    assert "train.json is not there, so the set has no train split." in found.notes


def test_what_cannot_be_a_root(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a root"):
        load_set("ssv2")
    with pytest.raises(DataError, match="no folder"):
        load_set(f"ssv2:{tmp_path / 'none'}")
    with pytest.raises(DataError, match=r"holds no list of classes: labels.json or"):
        load_set(f"ssv2:{tmp_path}")
    with pytest.raises(DataError, match=r"holds no list of clips: train.json or"):
        load_set(make(tmp_path, train=None, validation=None))
    with pytest.raises(UsageError, match="brings its own split"):
        load_set(make(tmp_path), SplitConfig(seed=3))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"labels": {"a": "0", "b": "2"}}, "the id of 'b' is '2'; each of the 2 classes needs its own, from 0 to 1"),
        ({"labels": {"a": "0", "b": 0}}, "the id of 'b' is 0"),
        ({"labels": {"a": "-1", "b": "1"}}, "the id of 'a' is '-1'"),
        ({"labels": {"a [x]": "0", "a x": "1"}}, "the class 'a x' is there 2 times"),
        ({"labels": []}, "should be one object"),
        ({"labels": '{"a": "0"'}, "labels.json, line 1, column 10 is not JSON"),
        ({"train": {}}, "train.json: should be a list of clips"),
        ({"train": [TRAIN[0], 3]}, "train.json, entry 2: should be an object"),
        ({"train": [TRAIN[0], {"id": "1"}]}, "train.json, entry 2: has no 'template'. Its fields: id"),
        ({"train": [{"template": NAMES[0]}]}, "entry 1: None is not the id of a clip"),
        ({"train": [{"id": "../../x", "template": NAMES[0]}]}, r"entry 1: '../../x' is not the id"),
        ({"train": [{"id": "/etc/x", "template": NAMES[0]}]}, "entry 1: '/etc/x' is not the id"),
        ({"train": [{"id": "..", "template": NAMES[0]}]}, r"entry 1: '\.\.' is not the id"),
        ({"train": [TRAIN[0], TRAIN[0]]}, r"train.json, entry 2: the clip '78687' is in .*train.json, entry 1"),
        ({"validation": [TRAIN[0]]}, r"validation.json, entry 1: the clip '78687' is in .*train.json, entry 1"),
        (
            {"train": [{"id": 1, "template": "Closing [smething]"}]},
            "'Closing smething' is none .* Nearest: 'Closing some",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_set(make(tmp_path, **files))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["4", "9", 4, "../4", "/4", "", "4\0", "é", "\ud800"]) | JSON,
        "template": st.sampled_from([*NAMES, "Closing [something]", "closing something"]) | JSON,
    },
)


def outcome(spec: str) -> Manifest | DataError:
    try:
        return load_set(spec)
    except DataError as error:
        return error


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(train=st.lists(ENTRY, max_size=3) | JSON, validation=st.lists(ENTRY, max_size=2))
def test_any_list_gives_right_rows_or_names_the_entry(tmp_path: Path, train: Any, validation: Any) -> None:
    spec = make(tmp_path, train=json.dumps(train), validation=json.dumps(validation))
    found = outcome(spec)
    if isinstance(found, DataError):
        assert str(tmp_path) in str(found)
        return
    listed = [*train, *validation]
    assert len(found.rows) + len(found.absent) == len(listed)
    template = {str(e["id"]): e["template"].replace("[", "").replace("]", "").strip() for e in listed}
    for row in found.rows:
        assert Path(row.path).parent == tmp_path / "20bn-something-something-v2"
        assert found.classes[row.labels[0]] == template[Path(row.path).stem]


def real_names(shared: Path) -> list[str]:
    """The class list of another project, in the order of the ids."""
    return (shared / "data/annotations/mmaction2/sthv2__label_map.txt").read_text().splitlines()


def test_real_lists_have_the_published_counts(shared: Path, tmp_path: Path) -> None:
    names = real_names(shared)
    files: dict[str, Any] = {"labels": {name: str(i) for i, name in reversed(list(enumerate(names)))}}
    truth = {}
    for name in ("train", "validation"):
        file = shared / f"data/annotations/raivokoot/SomethingSomethingV2__something-something-v2-{name}-processed.txt"
        lines = [line.split() for line in file.read_text().splitlines()]
        truth |= {line[0]: int(line[3]) for line in lines}
        files[name] = [{"id": x[0], "template": names[int(x[3])].replace("something", "[something]")} for x in lines]
    found = load_set(make(tmp_path, **files))
    published = find_set("ssv2").published
    assert len(found.classes) == published["classes"] == 174
    assert found.classes == tuple(names)
    counts = Counter({"train": len(files["train"]), "val": len(files["validation"])})
    assert dict(counts) == {side: published[side] for side in ("train", "val")}
    assert len(found.rows) + len(found.absent) == counts.total()
    assert {Path(row.path).stem: row.labels[0] for row in found.rows} == {
        key: truth[key] for key in ("4", "9", "78687", "11", "12") if key in truth
    }


def test_real_clips(shared: Path, tmp_path: Path) -> None:
    with (shared / "data/ssv2-mini/labels.csv").open() as file:
        lines = list(csv.DictReader(file))
    sides: dict[str, Any] = {"train": [], "validation": []}
    for line in lines:
        template = line["label"].replace("something", "[something]")
        sides[line["official_split"]].append({"id": line["video_id"], "template": template})
    labels = {name: str(i) for i, name in enumerate(real_names(shared))}
    for name, value in {"labels": labels, **sides}.items():
        (tmp_path / f"something-something-v2-{name}.json").write_text(json.dumps(value))
    (tmp_path / "frames").symlink_to(shared / "data/ssv2-mini/videos")
    found = load_set(f"ssv2:{tmp_path}")
    assert found.splits() == {"train": 12, "val": 1}
    by_id = {line["video_id"]: line for line in lines}
    for row in found.rows:
        line = by_id[Path(row.path).name]
        assert row.labels == (int(line["label_id_174"]),)
        assert probe(row.path).packets == int(line["n_frames_jpg"])
    assert read_clip(found.rows[0].path, 4).frames.shape[:2] == (4, 3)
