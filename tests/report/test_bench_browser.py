"""The page of measurements in a real browser: opens without a complaint, sorts, says what a point is, fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browser, missing
from made_bench import awkward

from kinelite.records import append_jsonl
from kinelite.report.page import make_pages
from kinelite.report.published import published_models

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]
ROWS = "[...document.querySelectorAll('#table-relative-train tbody tr')]"
COLUMN = f"return {ROWS}.map(row => row.cells[arguments[0]].textContent)"
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for record in awkward():
        append_jsonl(folder / "bench.jsonl", record, sync=False)
    return make_pages([folder / "bench.jsonl"], folder / "out").page


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser") / "profile") as found:
        yield found


def test_it_opens_with_all_models_and_no_complaint(page: Path, window: Browser) -> None:
    window.look(1400, 900)
    window.open(page)
    assert set(window.run(COLUMN, 0)) >= set(published_models())
    assert window.run("return document.querySelectorAll('.point').length") > 200
    assert window.complaints() == []


def test_a_column_sorts_up_and_down_with_failures_last(page: Path, window: Browser) -> None:
    window.look(1400, 900)
    window.open(page)
    head = "#table-relative-train thead th:nth-child({}) button"
    window.click(head.format(5))
    up = [float(text) for text in window.run(COLUMN, 4)]
    assert up == sorted(up)
    window.click(head.format(5))
    assert [float(text) for text in window.run(COLUMN, 4)] == sorted(up, reverse=True)
    window.click(head.format(1))
    names = window.run(COLUMN, 0)
    assert names == sorted(names)
    table = COLUMN.replace("relative-train", "relative-batch")
    for _ in range(2):
        window.click("#table-relative-batch thead th:nth-child(2) button")
        assert window.run(table, 1)[-1].startswith("failed: the process ended")
    assert window.complaints() == []


def test_a_point_says_what_it_is(page: Path, window: Browser) -> None:
    window.look(1400, 900)
    window.open(page)
    assert window.run("return document.getElementById('tip').hidden")
    x, y = window.run(
        "const point = document.querySelector('.point'); point.scrollIntoView({block: 'center'});"
        "const box = point.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]"
    )
    window.hover(x, y)
    tip = window.run("const tip = document.getElementById('tip'); return tip.hidden ? '' : tip.textContent")
    assert tip.partition(":")[0] in published_models()
    assert "AMD EPYC" in tip


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_the_window_in_light_and_dark(page: Path, window: Browser, width: int, dark: bool) -> None:
    window.look(width, 900, dark)
    window.open(page)
    assert window.run(OVERFLOW) <= 0
    colours = window.run(
        "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
        ".map(text => text.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0))"
    )
    assert (colours[0] > colours[1]) == dark
    assert abs(colours[0] - colours[1]) > 400
    assert window.complaints() == []
