from __future__ import annotations

from dataclasses import replace

import pytest

from kinelite.data.manifest import Manifest, Row
from kinelite.data.sets import list_sets, load_set
from kinelite.errors import UsageError

ROWS = (Row("a.mp4", (0,), "train"), Row("b.mp4", (1,), "train"), Row("c.mp4", (1,), "val", 1.0, 2.0))
SET = Manifest("x", {"label": ("jump", "run")}, ROWS, notes=("a note",))


def test_classes_splits_and_parts() -> None:
    assert SET.classes == ("jump", "run")
    assert SET.splits() == {"train": 2, "val": 1}
    assert SET.only("val").rows == ROWS[2:]
    assert SET.only("val").tasks == SET.tasks
    assert SET.only("test").rows == ()


@pytest.mark.parametrize(
    "change",
    [
        {"rows": ROWS[:2]},
        {"rows": ROWS[::-1]},
        {"rows": (*ROWS[:2], replace(ROWS[2], end_s=3.0))},
        {"rows": (*ROWS[:2], replace(ROWS[2], labels=(0,)))},
        {"rows": (*ROWS[:2], replace(ROWS[2], split="test"))},
        {"tasks": {"label": ("run", "jump")}},
        {"tasks": {"verb": ("jump", "run")}},
    ],
)
def test_fingerprint_changes_with_what_training_sees(change: dict[str, object]) -> None:
    assert replace(SET, **change).fingerprint() != SET.fingerprint()


def test_fingerprint_ignores_words() -> None:
    assert replace(SET, name="y", notes=(), policy="none").fingerprint() == SET.fingerprint()


def test_the_sets_are_listed_and_a_wrong_name_gets_the_nearest() -> None:
    assert {"folder", "csv"} <= set(list_sets())
    with pytest.raises(UsageError, match=r"Unknown data set 'foldr'.*Nearest: folder"):
        load_set("foldr:clips")
