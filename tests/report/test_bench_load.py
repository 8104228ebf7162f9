"""Files of measurements: several merge, damaged lines are named, what is not compared is counted."""

from __future__ import annotations

from pathlib import Path

from made_bench import made, made_set

from kinelite.records import EvalRecord, append_jsonl
from kinelite.report.benchmark.load import find_bench


def test_files_and_folders_merge_and_a_copied_line_counts_once(tmp_path: Path) -> None:
    for record in made_set():
        append_jsonl(tmp_path / "a.jsonl", record, sync=False)
    append_jsonl(tmp_path / "deep" / "b.jsonl", made("x3d_xs", "single", 1.0), sync=False)
    (tmp_path / "copy.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes())
    assert len(find_bench([tmp_path]).bench) == 40
    assert len(find_bench([tmp_path / "a.jsonl", tmp_path / "deep"]).bench) == 40


def test_damaged_lines_and_records_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    append_jsonl(file, made("x3d_xs", "single", 1.0), sync=False)
    with open(file, "a") as lines:
        lines.write('{"kind": "bench", "model": "cut\n[1, 2]\n')
        lines.write('{"kind": "bench", "model": "m", "mode": "single", "batch": "eight"}\n')
    append_jsonl(file, made("movinet_a0", "single", 1.0), sync=False)
    found = find_bench([file])
    assert [record.model for record in found.bench] == ["x3d_xs", "movinet_a0"]
    assert len(found.problems) == 3
    assert "a.jsonl: line 2 is damaged" in found.problems[0]
    assert any("batch" in problem for problem in found.problems)


def test_what_is_not_compared_is_counted_by_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    for row in ({"kind": "bench", "model": "m", "mode": "input"}, {"kind": "train", "model": "m"}, {"model": "m"}):
        append_jsonl(file, row, sync=False)
    # A comparison of two modules in one process has no latency of its own.
    append_jsonl(file, made("m", "single", gmacs=None, params_m=None, figures={"ratio": 2.0}), sync=False)
    found = find_bench([file])
    assert found.bench == ()
    assert {text.split("(")[1].rstrip(")") for text in found.left_out} == {
        "mode input", "kind train", "kind no kind", "mode single, no latency",
    }  # fmt: skip


def test_failures_and_evaluations_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    append_jsonl(file, made("m", "train", status="oom", message="too large"), sync=False)
    append_jsonl(file, EvalRecord(model="m", data="ssv2", top1=0.5), sync=False)
    found = find_bench([file])
    assert [record.status for record in found.bench] == ["oom"]
    assert [record.top1 for record in found.scores] == [0.5]


def test_run_folders_are_not_searched(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "run" / "metrics.jsonl", made("m", "single", 1.0), sync=False)
    assert find_bench([tmp_path]).bench == ()
    assert find_bench([tmp_path / "nowhere"]).bench == ()
