"""Tables: seeds aggregated, ratios against the right run, Markdown that stays a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinelite.records import EvalRecord, TrainRecord
from kinelite.report import tables
from kinelite.report.load import Run, load_run

MakeRun = Callable[..., Path]


def _run(name: str, **values: object) -> Run:
    record = TrainRecord(**({"model": "m", "data": "d", "device": "cpu", "recipe": name} | values))  # type: ignore[arg-type]
    return Run(Path(name), name, record)


def test_seeds_are_aggregated_and_settings_are_not(make_run: MakeRun) -> None:
    folders = [make_run("sfa", 0, top1=0.8), make_run("conventional", 0), make_run("sfa", 1, top1=0.9)]
    rows = tables.compare([load_run(folder) for folder in folders])
    assert [row["recipe"] for row in rows] == ["sfa", "conventional"]
    sfa, conventional = rows
    assert (sfa["n"], sfa["seeds"], sfa["runs"]) == (2, [0, 1], ["sfa-0", "sfa-1"])
    assert sfa["top1"] == pytest.approx(0.85)
    assert sfa["top1_sd"] == pytest.approx(statistics.stdev([0.8, 0.9]))
    assert conventional["top1_sd"] is None
    # 3 epochs x 2 steps x 0.5 s + 2 x 2 x 0.25 s = 4 s, and seed 1 takes a second more; conventional takes 16 s.
    assert sfa["ratio"] == pytest.approx(4.5 / 16)
    assert conventional["ratio"] == 1


def test_the_ratio_is_to_conventional_else_to_the_slowest_on_the_same_device() -> None:
    runs = [
        _run("slow", train_seconds=400.0),
        _run("conventional", train_seconds=200.0),
        _run("sfa", train_seconds=50.0),
        _run("gpu", train_seconds=1.0, device="cuda"),
        _run("broken", train_seconds=9.0, status="failed"),
        _run("conventional", train_seconds=900.0, published=True, source="paper"),
    ]
    ratios = {None if row["published"] else row["recipe"]: row["ratio"] for row in tables.compare(runs)}
    wanted = {"slow": 2.0, "conventional": 1.0, "sfa": 0.25, "gpu": None, "broken": None, None: None}
    assert ratios == wanted
    assert [row["ratio"] for row in tables.compare([runs[0], runs[2]])] == [1.0, 0.125]


def test_failed_runs_do_not_blur_the_mean() -> None:
    rows = tables.compare([_run("sfa", top1=0.9), _run("sfa", top1=0.1, status="unstable", seed=1)])
    assert [(row["status"], row["top1"]) for row in rows] == [("ok", 0.9), ("unstable", 0.1)]


def test_accuracy_comes_from_the_evaluation_where_training_has_none() -> None:
    run = Run(Path("a"), "a", TrainRecord(model="m"), EvalRecord(model="m", top1=0.0))
    assert tables.compare([run])[0]["top1"] == 0.0


def test_text_of_a_row_has_units_and_dashes() -> None:
    row = tables.headline(tables.compare([_run("sfa", top1=0.9155, train_seconds=90.0, trained_params=900_000)]))[0]
    assert row["Top-1"] == "91.5 %" or row["Top-1"] == "91.6 %"
    assert (row["Training time"], row["Trained parameters"], row["Peak memory"]) == ("90 s", "0.9 M", "–")
    assert "Status" not in tables.without_empty([row])[0]
    assert "Peak memory" not in tables.without_empty([row])[0]


@pytest.mark.parametrize(
    ("seconds", "sd", "text"),
    [
        (None, None, "–"),
        (3.21, None, "3.2 s"),
        (571.0, 12.0, "571 ± 12 s"),
        (1800.0, 60.0, "30.0 ± 1.0 min"),
        (9000.0, None, "2.5 h"),
    ],
)
def test_durations(seconds: float | None, sd: float | None, text: str) -> None:
    assert tables.duration(seconds, sd) == text


@given(cells=st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4))
def test_markdown_keeps_one_line_per_row_and_one_cell_per_column(cells: list[tuple[str, str]]) -> None:
    text = tables.markdown_table([{"a": a, "b": b} for a, b in cells])
    lines = text.split("\n")
    assert lines[-1] == ""
    assert len(lines) == len(cells) + 3
    for line in lines[:-1]:
        # A pipe ends a cell unless an odd number of backslashes stands before it.
        bare = line.replace("\\\\", "").replace("\\|", "")
        assert bare.count("|") == 3
    assert tables.markdown_table([]) == ""


def test_the_most_confused_pairs_come_first() -> None:
    record = EvalRecord(model="m", classes=["a", "b", "c"], confusion=[[5, 1, 4], [0, 9, 1], [0, 0, 0]])
    assert tables.confused(record) == [
        {"label": "a", "predicted": "c", "clips": 4, "share": 0.4},
        {"label": "a", "predicted": "b", "clips": 1, "share": 0.1},
        {"label": "b", "predicted": "c", "clips": 1, "share": 0.1},
    ]


def test_only_settings_that_differ_are_listed(make_run: MakeRun) -> None:
    runs = [load_run(make_run(recipe, seed)) for recipe in ("conventional", "sfa") for seed in (0, 1)]
    rows = tables.config_rows(runs)
    names = ("conventional-0, conventional-1", "sfa-0, sfa-1")
    assert rows == [
        {"Setting": "recipe", names[0]: "conventional", names[1]: "sfa"},
        {"Setting": "optim.lr", names[0]: "0.0005", names[1]: "0.001"},
    ]
    assert tables.config_rows([*runs, _run("quoted", published=True)]) == rows
    assert tables.config_rows(runs[:2]) == []


def test_machines_are_told_apart() -> None:
    runs = [_run("a", environment={"cpu": "x", "cuda": None}), _run("b", environment={"cpu": "y"}), _run("c")]
    assert tables.environments([*runs, _run("d", environment={"cpu": "x"})]) == [
        (["a", "d"], {"cpu": "x"}),
        (["b"], {"cpu": "y"}),
    ]


def test_class_rows_line_up_over_runs_of_other_classes(make_run: MakeRun) -> None:
    runs = [load_run(make_run("sfa", 0, ("a", "b"))), load_run(make_run("sfa", 1, ("b", "c")))]
    assert tables.class_rows(runs) == [
        {"class": "a", "clips": 10, "top1": [0.9, None]},
        {"class": "b", "clips": 10, "top1": [0.9, 0.9]},
        {"class": "c", "clips": 10, "top1": [None, 0.9]},
    ]
