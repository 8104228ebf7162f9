"""Something-Else: the owner's split files as they are, over Something-Something V2 clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kinelite.config import SplitConfig
from kinelite.data.cards import published_counts
from kinelite.data.sets import find_set, load_set
from kinelite.errors import DataError, UsageError

REAL = "data/annotations/something-else"
CLASSES = {
    "compositional": 174,
    "compositional_shuffled": 174,
    "compositional_oneobject": 166,
    "fewshot_base": 88,
    "fewshot_5shot": 86,
    "fewshot_10shot": 86,
}
# The owner's own file names (github.com/joaanna/something_else).
OFFICIAL = {
    "compositional": ("labels", "train", "validation"),
    "compositional_shuffled": ("labels", "train", "validation"),
    "compositional_oneobject": ("labels", "train", "validation"),
    "fewshot_base": ("base_labels", "base_training_set", "base_validation_set"),
    "fewshot_5shot": ("finetune_labels", "finetune_5shot_training", "finetune_5shot_validation"),
    "fewshot_10shot": ("finetune_labels", "finetune_10shot_train", "finetune_10shot_validation"),
}


def entry(key: str, template: str) -> dict[str, object]:
    return {"placeholders": ["x"], "id": key, "template": template, "label": "x"}


def make(root: Path, task: str = "compositional", below: str = "dataset_splits") -> str:
    """Three clips and the lists of one task; the class order is not that of the names."""
    folder = root / below / ("fewshot" if task.startswith("fewshot") else task)
    folder.mkdir(parents=True, exist_ok=True)
    labels, train, validation = OFFICIAL[task]
    (folder / f"{labels}.json").write_text(json.dumps({"Closing something": 1, "Tearing something": 0}))
    (folder / f"{train}.json").write_text(
        json.dumps([entry("5", "Closing [something]"), entry("3", "Tearing [something]")])
    )
    (folder / f"{validation}.json").write_text(json.dumps([entry("7", "Closing [something]")]))
    videos = root / "20bn-something-something-v2"
    videos.mkdir(exist_ok=True)
    for key in "357":
        (videos / f"{key}.webm").touch()
    return f"something_else:{root},task={task}"


@pytest.mark.parametrize("task", OFFICIAL)
@pytest.mark.parametrize("below", ["dataset_splits", "code/dataset_splits"])
def test_every_task_reads_its_own_files(tmp_path: Path, task: str, below: str) -> None:
    found = load_set(make(tmp_path, task, below))
    assert found.classes == ("Tearing something", "Closing something")
    rows = [(Path(row.path).stem, row.labels, row.split) for row in found.rows]
    assert rows == [("5", (1,), "train"), ("3", (0,), "train"), ("7", (1,), "val")]
    assert found.policy == "lightweight_ssv2"


def test_split_files_elsewhere_and_the_default_task(tmp_path: Path) -> None:
    make(tmp_path / "clips")
    make(tmp_path / "else", below="splits")
    (tmp_path / "clips/dataset_splits").rename(tmp_path / "clips/other")
    with pytest.raises(DataError, match=r"holds no list of classes: labels.json"):
        load_set(f"something_else:{tmp_path / 'clips'}")
    found = load_set(f"something_else:{tmp_path / 'clips'},annotations={tmp_path / 'else/splits'}")
    assert [Path(row.path).stem for row in found.rows] == ["5", "3", "7"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    spec = make(tmp_path, "fewshot_5shot")
    with pytest.raises(UsageError, match=r"task: compositional or compositional_shuffled or .* or fewshot_10shot"):
        load_set(f"something_else:{tmp_path},task=fewshot")
    with pytest.raises(DataError, match=r"fewshot holds no list of clips: finetune_10shot_training.json or"):
        load_set(f"something_else:{tmp_path},task=fewshot_10shot")
    with pytest.raises(UsageError, match="brings its own splits"):
        load_set(spec, SplitConfig(folds=2))
    (tmp_path / "dataset_splits/fewshot/finetune_5shot_validation.json").unlink()
    found = load_set(spec)
    assert (found.splits(), found.notes[-1]) == (
        {"train": 2},
        "finetune_5shot_validation.json is not there, so the set has no val split.",
    )
    spec = make(tmp_path, "fewshot_base")
    (tmp_path / "dataset_splits/fewshot/base_training_set.json").unlink()
    assert load_set(spec).notes[-1] == "base_training_set.json is not there, so the set has no train split."


def official(shared: Path, root: Path, task: str) -> str:
    """The owner's files that are at hand, under their own names, and a clip for each of their entries."""
    folder = "fewshot" if task.startswith("fewshot") else task
    place = root / "dataset_splits" / folder
    place.mkdir(parents=True)
    videos = root / "videos"
    videos.mkdir()
    for name in OFFICIAL[task]:
        file = shared / REAL / f"{folder}__{name}.json"
        if file.is_file():
            (place / f"{name}.json").symlink_to(file)
            listed = json.loads(file.read_text())
            for clip in listed if isinstance(listed, list) else []:
                (videos / f"{clip['id']}.mp4").touch()
    return f"something_else:{root},task={task}"


@pytest.mark.parametrize(
    ("task", "counts"),
    [
        ("compositional_oneobject", {"train": 6560}),
        ("fewshot_base", {"val": 12467}),
        ("fewshot_5shot", {"train": 5 * 86}),
        ("fewshot_10shot", {"train": 10 * 86}),
    ],
)
def test_real_files(shared: Path, tmp_path: Path, task: str, counts: dict[str, int]) -> None:
    found = load_set(official(shared, tmp_path, task))
    assert (found.splits(), len(found.classes), found.absent) == (counts, CLASSES[task], ())
    stem = OFFICIAL[task]
    folder = "fewshot" if task.startswith("fewshot") else task
    numbers = json.loads((shared / REAL / f"{folder}__{stem[0]}.json").read_text())
    listed = json.loads((shared / REAL / f"{folder}__{stem[1 if 'train' in counts else 2]}.json").read_text())
    expected = [numbers[clip["template"].replace("[", "").replace("]", "")] for clip in listed]
    assert [row.labels[0] for row in found.rows] == expected


def test_real_class_lists(shared: Path) -> None:
    """The published numbers of classes; base and new classes divide those of Something-Something V2."""
    from kinelite.data.sets.something_something import read_classes

    lists = {
        name: read_classes(shared / REAL / f"{name}.json")
        for name in ("fewshot__base_labels", "fewshot__finetune_labels")
    }
    everything = set((shared / "data/annotations/mmaction2/sthv2__label_map.txt").read_text().splitlines())
    for task in ("compositional", "compositional_shuffled", "compositional_oneobject"):
        classes = read_classes(shared / REAL / f"{task}__labels.json")
        assert len(classes) == CLASSES[task]
        assert set(classes) <= everything
    base, new = map(set, lists.values())
    assert (len(base), len(new), base & new, base | new) == (88, 86, set(), everything)
    card = find_set("something_else")
    assert published_counts(card, {}) == {"classes": 174, "train": 54_919, "val": 57_876}
    assert published_counts(card, {"task": "fewshot_5shot"}) == {"classes": 86, "train": 430}
    assert published_counts(card, {"task": "compositional_shuffled"}) == {}
