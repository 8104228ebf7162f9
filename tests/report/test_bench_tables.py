"""Tables of measurements: the right numbers in the right columns, published ones apart, failures with their reason."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from made_bench import GMACS, agreed, awkward, made, made_set

from kinelite.records import SHORTENED, BenchRecord, EvalRecord, TrainRecord
from kinelite.report.benchmark import compared, measured
from kinelite.report.benchmark.content import Content, make_content
from kinelite.report.benchmark.load import MODES, Found
from kinelite.report.benchmark.tables import Cell, Head, Table, to_csv, to_markdown
from kinelite.report.load import Run
from kinelite.report.published import published_epochs, published_memory_gib, published_models, published_relative


def content(*records: BenchRecord, scores: tuple[EvalRecord, ...] = (), runs: tuple[Run, ...] = ()) -> Content:
    return make_content(Found(records, scores), runs)


def column(table: Table | None, *words: str) -> dict[str, Cell]:
    """Model -> cell of the one column whose head holds all words; 'published' asks for a published one."""
    assert table is not None
    named = [word for word in words if word != "published"]
    found = [
        index
        for index, head in enumerate(table.heads)
        if all(word in head.text for word in named) and head.published == ("published" in words)
    ]
    assert len(found) == 1, [head.text for head in table.heads]
    return {name: cells[found[0]] for name, cells in table.rows}


@pytest.mark.parametrize("mode", ["train", "batch", "single"])
def test_own_and_published_relative_latencies_stand_side_by_side(mode: str) -> None:
    table = measured.relative_table(content(*agreed(mode)), mode)
    own, quoted = column(table, "AMD EPYC"), column(table, "Table 2", "published")
    assert set(own) == set(published_models())
    for model, value in published_relative(mode).items():
        assert own[model].value == pytest.approx(value)
        assert quoted[model].text == f"{value:.2f}"


def test_published_tables_are_there_without_any_measurement() -> None:
    empty = content()
    assert measured.latency_table(empty, "single") is None
    assert {m: c.value for m, c in column(measured.memory_table(empty, "train"), "VRAM", "published").items()} == (
        published_memory_gib("train")
    )
    assert measured.columns_table(empty) is None
    assert measured.failures_table(empty) is None
    assert measured.repeats_table(empty) is None


def test_rows_are_in_order_of_latency() -> None:
    table = measured.relative_table(content(*agreed("train")), "train")
    assert table is not None
    names = [name for name, _ in table.rows]
    assert names == sorted(names, key=lambda model: published_relative("train")[model])


def test_absolute_latencies_are_of_the_asked_batch() -> None:
    records = [made("movinet_a0", "train", 900.0), made("x3d_xs", "train", 500.0, batch=2, asked_batch=8)]
    found = column(measured.latency_table(content(*records), "train"), "ms per 8 clips")
    assert found["movinet_a0"].text == "900"
    assert found["x3d_xs"].text == "2000"
    assert found["x3d_xs"].notes == ("measured at batch 2 of 8, compared clip by clip",)


def test_a_failure_is_a_cell_with_its_reason() -> None:
    long = "x" * 100
    records = [
        made("movinet_a0", "train", 900.0),
        made("swin3d_t", "train", status="unsupported", message="no roll"),
        made("timesformer", "train", status="oom", message=long),
        made("mvit_s", "train", status="failed"),
    ]
    table = measured.relative_table(content(*records), "train")
    found = column(table, "AMD EPYC")
    assert found["swin3d_t"].text == "unsupported: no roll"
    assert found["timesformer"].text.startswith("oom: xxx")
    assert found["timesformer"].notes == (long,)
    assert found["mvit_s"].text == "failed"
    assert {found[m].kind for m in ("swin3d_t", "timesformer", "mvit_s")} == {"bad"}
    rows = dict(measured.failures_table(content(*records)).rows)  # type: ignore[union-attr]
    assert long in [cell.text for cell in rows["timesformer"]]
    assert len(rows) == 3


def test_fewer_calls_are_noted_without_a_warning() -> None:
    said = f"2 warm-up calls and 9 that count instead of 10 and 100: {SHORTENED} 10 s"
    for notes, kind in (([said], ""), ([said, "unsteady"], "warn")):
        table = measured.relative_table(content(made("movinet_a0", "single", 1.0, notes=notes)), "single")
        cell = column(table, "AMD EPYC")["movinet_a0"]
        assert cell.notes == tuple(notes)
        assert cell.kind == kind


def test_notes_of_interference_are_at_the_cell() -> None:
    table = measured.relative_table(content(made("movinet_a0", "single", 1.0, notes=["2.1 cores were busy"])), "single")
    cell = column(table, "AMD EPYC")["movinet_a0"]
    assert cell.notes == ("2.1 cores were busy",)
    assert cell.kind == "warn"
    assert "[1] 2.1 cores were busy" in to_markdown(table)  # type: ignore[arg-type]


@pytest.mark.parametrize(("second", "flagged"), [(21.9, False), (22.1, True), (18.1, True), (18.3, False)])
def test_repeats_more_than_ten_per_cent_apart_are_flagged(second: float, flagged: bool) -> None:
    later = "2026-02-01T00:00:00+00:00"
    records = [made("movinet_a0", "single", 10.0), made("x3d_xs", "single", 20.0)]
    records += [made("movinet_a0", "single", 10.0, created=later), made("x3d_xs", "single", second, created=later)]
    table = measured.repeats_table(content(*records))
    apart = column(table, "Apart")["x3d_xs"]
    assert apart.value == pytest.approx(100 * (max(20.0, second) / min(20.0, second) - 1))
    assert (apart.kind == "warn") == flagged
    assert apart.text.endswith(" !") == flagged
    noted = column(measured.relative_table(content(*records), "single"), "AMD EPYC")["x3d_xs"].notes
    assert bool(noted) == flagged


def test_memory_has_a_column_per_kind() -> None:
    gpu = {"device": "cuda", "device_name": "NVIDIA H200", "memory_kind": "cuda", "reserved_memory_gib": 3.0}
    records = [
        made("movinet_a0", "train", 1.0, peak_memory_gib=1.5, memory_kind="rss", tensors_gib=1.25),
        made("movinet_a0", "train", 1.0, peak_memory_gib=2.0, **gpu),
    ]
    table = measured.memory_table(content(*records), "train")
    kinds = {
        "threads: process": 1.5,
        "threads: tensors": 1.25,
        "H200, fp32: allocated": 2.0,
        "H200, fp32: reserved": 3.0,
    }
    for words, value in kinds.items():
        assert column(table, words)["movinet_a0"].value == value


def test_training_until_convergence_is_relative_latency_times_epochs() -> None:
    table = compared.convergence_table(content(*agreed("train")))
    own = column(table, "latency x epochs (ssv2, published)")
    quoted = column(table, "Latency x epochs", "published")
    assert set(own) == set(published_epochs())
    for model in own:
        assert own[model].value == pytest.approx(quoted[model].value, abs=0.0501)


def test_own_epochs_are_those_with_the_best_accuracy() -> None:
    metrics = [
        {"event": "eval", "epoch": epoch, "top1": top1} for epoch, top1 in ((1, 0.2), (2, 0.6), (3, 0.6), (4, 0.5))
    ]
    run = Run(Path("r"), "r", TrainRecord(model="x3d_xs", data="folder:clips/"), metrics=metrics)
    table = compared.convergence_table(content(*agreed("train"), runs=(run,)))
    assert column(table, "Epochs on folder:clips/, own runs")["x3d_xs"].value == 2
    product = column(table, "latency x epochs (folder:clips/)")["x3d_xs"].value
    assert product == pytest.approx(2 * published_relative("train")["x3d_xs"])


def test_operations_are_counted_beside_the_papers_parameters() -> None:
    table = compared.cost_table(content(*made_set()))
    assert column(table, "GMACs over")["nl_r50"].value == pytest.approx(GMACS["nl_r50"] / GMACS["movinet_a0"])
    assert column(table, "Difference")["swin3d_t"].text == "+0.6 %"
    ratio = dict(compared.ratios_table(content(*made_set())).rows)["Operations"]
    assert [cell.text for cell in ratio[1:4]] == ["> 60", "Koot et al. 2021, appendix A", "110.4"]


def test_ratios_of_each_gpu_of_the_text_are_listed() -> None:
    rows = [cells for name, cells in compared.ratios_table(content()).rows if name.startswith("Training step")]
    assert {cells[0].text: cells[1].value for cells in rows} == {
        "mean of 5 desktop GPUs": 10.2, "A100 SXM4 40GB": 4.67, "Tesla V100 32GB": 6.74, "RTX 3090 24GB": 7.96,
        "RTX A6000 48GB": 8.83, "Tesla P100 16GB": 22.64,
    }  # fmt: skip


def test_accuracy_is_published_until_there_is_ones_own() -> None:
    table = compared.accuracy_table(content(*made_set()))
    assert column(table, "ssv2 top-1", "published")["movinet_a2"].text == "60.6"
    assert "mvit_s" not in column(table, "ssv2 top-1", "published")
    scores = tuple(
        EvalRecord(model=m, data=f"{data}:/somewhere", top1=top1)
        for data in ("ssv2", "epic100")
        for m, top1 in (("x3d_xs", 0.5), ("movinet_a0", 0.25), ("nl_r50", 0.75))
    )
    own = content(*made_set(), scores=scores)
    table = compared.accuracy_table(own)
    assert column(table, "ssv2 top-1, %, own")["x3d_xs"].value == 50
    assert column(table, "Normalised mean, own")["x3d_xs"].value == pytest.approx(0.5)
    name = next(name for name in compared.accuracy_points(own) if name != "published")
    assert set(compared.accuracy_points(own)[name]) == {"x3d_xs", "movinet_a0", "nl_r50"}
    assert set(compared.own_points(own)) == {
        "ssv2 on AMD EPYC, fp32, 2 threads",
        "epic100 on AMD EPYC, fp32, 2 threads",
    }


def test_models_on_the_front_are_marked() -> None:
    table = compared.accuracy_table(content())
    latency = column(table, "Latency, mean", "published")
    assert {m for m, cell in latency.items() if cell.kind == "best"} == {"movinet_a0", "x3d_xs", "movinet_a2"}
    assert {m for m, cell in latency.items() if cell.text.endswith("*")} == {"movinet_a0", "x3d_xs", "movinet_a2"}


def test_every_table_of_awkward_records_has_a_cell_per_head_and_distinct_heads() -> None:
    made_content = content(*awkward())
    makers = [measured.relative_table, measured.latency_table, measured.memory_table]
    tables = [make(made_content, mode) for mode in MODES for make in makers]
    tables += [
        measured.repeats_table(made_content), measured.failures_table(made_content),
        measured.columns_table(made_content),
        compared.convergence_table(made_content), compared.cost_table(made_content),
        compared.accuracy_table(made_content), compared.ratios_table(made_content),
    ]  # fmt: skip
    found = [table for table in tables if table is not None]
    assert len(found) == 18
    for table in found:
        assert all(len(cells) == len(table.heads) for _, cells in table.rows), table.name
        heads = [(head.text, head.published) for head in table.heads]
        assert len(set(heads)) == len(heads), table.name


def test_files_hold_numbers_as_computed_and_notes() -> None:
    rows = [("a", [Cell("1.23", 1.23456789, ("odd | note",)), Cell("oom: no", kind="bad"), Cell()])]
    table = Table("t", "Title", "About.", [Head("x"), Head("y", True), Head("z")], rows)
    assert list(csv.reader(io.StringIO(to_csv(table)))) == [
        ["Model", "x", "y (published)", "z", "notes"], ["a", "1.23457", "oom: no", "", "odd | note"],
    ]  # fmt: skip
    text = to_markdown(table)
    assert "| a | 1.23 [1] | oom: no | – |" in text
    assert "[1] odd | note" in text


def test_measurements_are_one_flat_row_each() -> None:
    rows = measured.measurements(content(*awkward()))
    assert len({(row["model"], row["mode"], row["column"]) for row in rows}) == len(rows)
    failed = [row for row in rows if row["status"] != "ok"]
    assert [(row["model"], row["status"]) for row in failed] == [("nl_r50", "failed")]
    assert {row["torch"] for row in rows} == {"2.15.0"}
