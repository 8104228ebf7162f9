"""``something_else:ROOT``: other splits of Something-Something V2 (Materzynska et al. 2020), over the same clips.

Compositional: the things in validation were never seen with the same verbs in training. Few-shot: 88 base classes, and
86 others with 5 or 10 clips each to learn from. Class numbers are those of each split's own labels.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest
from kinelite.data.sets import SetOptions, register_set
from kinelite.data.sets._lookup import root_folder
from kinelite.data.sets.something_something import (
    LICENCE,
    VIDEOS,
    Entry,
    assemble,
    first_file,
    read_classes,
    read_entries,
)
from kinelite.data.split import refuse_options
from kinelite.data.tables import find_file

Task = Literal[
    "compositional",
    "compositional_shuffled",
    "compositional_oneobject",
    "fewshot_base",
    "fewshot_5shot",
    "fewshot_10shot",
]
TREE = f"""\
ROOT/dataset_splits/compositional/labels.json, train.json, validation.json
ROOT/dataset_splits/fewshot/base_labels.json, base_training_set.json, base_validation_set.json
ROOT/dataset_splits/fewshot/finetune_labels.json, finetune_5shot_training.json, finetune_5shot_validation.json, ...
                                            also in ROOT/code/dataset_splits/, or where annotations=DIR says
{VIDEOS}"""
# The owner's own names differ from split to split; the others are what people rename them to.
_TRAINING = ("training", "train", "training_set", "train_set")
_VALIDATION = ("validation", "validation_set", "val")
_ENDINGS = (_TRAINING, _VALIDATION)


@dataclass(frozen=True)
class SomethingElseOptions(SetOptions):
    """Options of ``something_else``."""

    task: Task = "compositional"
    """Which of the splits."""
    annotations: str = ""
    """The folder dataset_splits, when it is not below the root."""


@register_set(
    "something_else",
    spec="something_else:ROOT,task=compositional",
    summary="Something-Else: compositional and few-shot splits of Something-Something V2",
    options=SomethingElseOptions,
    tree=TREE,
    licence=f"{LICENCE} Split files: MIT (Materzynska et al.).",
    source="Materzynska et al., Something-Else: compositional action recognition, CVPR 2020, arXiv 1912.09930",
    published={
        **{"classes": 174, "train": 54_919, "val": 57_876},
        **{"classes task=fewshot_base": 88, "val task=fewshot_base": 12_467},
        **{"classes task=fewshot_5shot": 86, "train task=fewshot_5shot": 430},
        **{"classes task=fewshot_10shot": 86, "train task=fewshot_10shot": 860},
    },
)
def load(root: str, split: SplitConfig, options: SomethingElseOptions) -> Manifest:
    """Clips of one split in the order of its lists; the published counts are those of ``compositional``.

    Few-shot tasks train on the 5 or 10 clips of each new class and validate on the others of these classes. Missing
    clips and errors as in ``ssv2``.
    """
    top = root_folder("something_else", root)
    refuse_options(split, "Something-Else brings its own splits")
    home = _home(top, options)
    labels, training, validation = _files(options.task)
    classes = read_classes(find_file(home, *labels, what="list of classes"))
    entries: list[Entry] = []
    notes: list[str] = []
    for names, side in ((training, "train"), (validation, "val")):
        file = first_file(home, names)
        entries += read_entries(file, classes, side) if file else []
        notes += [] if file else [f"{names[0]} is not there, so the set has no {side} split."]
    if not entries:
        find_file(home, *training, what="list of clips")
    return assemble(f"something_else:{root},task={options.task}", top, classes, entries, notes, TREE)


def _home(top: Path, options: SomethingElseOptions) -> Path:
    """The folder of the task's files."""
    folder = "fewshot" if options.task.startswith("fewshot") else options.task
    if options.annotations:
        places = [Path(options.annotations).expanduser()]
    else:
        places = [top / "dataset_splits", top / "code/dataset_splits", top]
    return next((place / folder for place in places if (place / folder).is_dir()), places[0] / folder)


def _files(task: Task) -> tuple[list[str], list[str], list[str]]:
    """Names that the lists of classes, training and validation may have."""
    if not task.startswith("fewshot"):
        return ["labels.json"], ["train.json"], ["validation.json"]
    stem = "base" if task == "fewshot_base" else f"finetune_{task.removeprefix('fewshot_')}"
    labels = f"{stem.split('_')[0]}_labels.json"
    # The owner's own name first: it is the one that a message gives.
    endings = [sorted(kind, key=lambda name: name.endswith("_set") != (stem == "base")) for kind in _ENDINGS]
    training, validation = ([f"{stem}_{ending}.json" for ending in kind] for kind in endings)
    return [labels], training, validation
