"""Figures: the right numbers on the axes, and SVG that any page can hold."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from kinelite.records import EvalRecord
from kinelite.report import figures
from kinelite.report.load import load_run

MakeRun = Callable[..., Path]
HOSTILE = ("<script>alert(1)</script>", "a & b", "$x_{$", "日本語", "_hidden", '"quote\'"', "caf\udce9", "nul\0", "🎬")


def test_epochs_are_counted_on_over_stages(make_run: MakeRun) -> None:
    metrics = load_run(make_run("sfa", 0)).metrics
    top1 = figures.series(metrics, "eval", "top1", "epoch")
    assert [x for x, _ in top1] == [1, 2, 3, 4, 5]
    assert [y for _, y in top1] == pytest.approx([0.3, 0.6, 0.9, 0.45, 0.9])
    assert figures.series(metrics, "step", "loss", "epoch")[3] == (4, 0.75)
    assert figures.stage_starts(metrics, "epoch") == [(3, "long")]


def test_time_is_training_time(make_run: MakeRun) -> None:
    metrics = load_run(make_run("sfa", 0)).metrics
    assert [x for x, _ in figures.series(metrics, "eval", "top1", "time")] == [1, 2, 3, 3.5, 4]
    assert figures.stage_starts(metrics, "time") == [(3, "long")]


def test_long_series_are_thinned_without_losing_their_ends() -> None:
    rows = [{"event": "step", "loss": float(i), "train_s": float(i)} for i in range(10_000)]
    points = figures.series(rows, "step", "loss", "time")
    assert 100 < len(points) <= figures.MAX_POINTS
    assert points[0][0] < 50
    assert points[-1][0] > 9_950
    assert all(x == pytest.approx(y) for x, y in points)


def test_rows_without_numbers_are_passed_over() -> None:
    rows = [
        {"event": "eval", "epoch": 1, "top1": None},
        {"event": "eval", "top1": 0.5},
        {"event": "eval", "epoch": "1"},
    ]
    assert figures.series(rows, "eval", "top1", "epoch") == []
    assert figures.accuracy_figure([], "epoch") == ""
    assert figures.confusion_figure(EvalRecord(model="m"), "a") == ""


@pytest.mark.parametrize("by", ["epoch", "time"])
def test_curves_name_every_group_and_stage(by: figures.By, make_run: MakeRun) -> None:
    runs = [load_run(make_run("conventional", 0)), load_run(make_run("sfa", 0)), load_run(make_run("sfa", 1))]
    for draw in (figures.accuracy_figure, figures.loss_figure):
        svg = draw(runs, by)
        texts = [element.text for element in ET.fromstring(svg).iter() if element.text]
        assert {"conventional-0", "sfa (2 runs)", "long"} <= set(texts)
        assert "var(--c0)" in svg
        assert "var(--c1)" in svg
        assert not re.search(r"https?:|url\((?!#)|xmlns|#0a0b0c", svg)
        assert re.match(r'<svg viewBox="[^"]+" role="img" aria-label="[^"]+">', svg)


def test_equal_records_give_equal_figures(make_run: MakeRun) -> None:
    runs = [load_run(make_run("sfa", 0))]
    assert figures.loss_figure(runs, "time") == figures.loss_figure(runs, "time")


def test_a_matrix_of_hostile_names_is_drawn_and_parses() -> None:
    k = len(HOSTILE)
    confusion = [[i + j for j in range(k)] for i in range(k)]
    svg = figures.confusion_figure(EvalRecord(model="m", classes=list(HOSTILE), confusion=confusion), 'a "run" <b>')
    root = ET.fromstring(svg)
    texts = [element.text or "" for element in root.iter("text")]
    assert "a & b" in texts
    assert "$x_{$" in texts
    assert "日本語" in texts
    assert any("hidden" in text for text in texts)
    assert not any(element.tag == "script" for element in root.iter())
    assert svg.encode()


@pytest.mark.parametrize("k", [1, 30, 120])
def test_matrices_of_any_size(k: int) -> None:
    confusion = [[int(i == j) for j in range(k)] for i in range(k)]
    svg = figures.confusion_figure(EvalRecord(model="m", classes=[f"c{i}" for i in range(k)], confusion=confusion), "a")
    ET.fromstring(svg)
    assert len(svg) < 500_000
    assert (">c0<" in svg) == (k <= figures.MAX_CLASS_LABELS)
