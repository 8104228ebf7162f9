"""Run folders in any state: whole, partial, damaged, nested, none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kinelite.errors import UsageError
from kinelite.records import TrainRecord, append_jsonl, write_json
from kinelite.report.load import find_runs, load_run

MakeRun = Callable[..., Path]


def test_a_whole_run_has_no_problems(make_run: MakeRun) -> None:
    run = load_run(make_run("sfa", 0))
    assert run.problems == ()
    assert run.train is not None
    assert run.evaluation is not None
    assert (run.name, run.recipe, run.train.seed) == ("sfa-0", "sfa", 0)
    assert {row["event"] for row in run.metrics} == {"stage", "step", "eval"}


@pytest.mark.parametrize("name", ["record.json", "eval.json", "config.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", [None, b"", b'{"model": ', b"[1]\n", b'{"model": 3}\n', b"\xff\xfe"])
def test_a_missing_or_damaged_file_is_named_and_the_rest_is_read(
    name: str, content: bytes | None, make_run: MakeRun
) -> None:
    folder = make_run("sfa", 0)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    run = load_run(folder)
    harmless = (name == "config.json" and content == b'{"model": 3}\n') or (
        name == "metrics.jsonl" and content in (b"", b'{"model": 3}\n')
    )
    assert any(name in problem for problem in run.problems) != harmless
    assert (run.train is None) == (name == "record.json")
    assert (run.evaluation is None) == (name == "eval.json")
    assert run.config["recipe" if name != "config.json" or not harmless else "model"]


def test_an_unfinished_run_is_a_run(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "metrics.jsonl", {"event": "step", "loss": 1.0})
    run = load_run(tmp_path)
    assert run.train is None
    assert "record.json is missing" in run.problems


def test_a_folder_without_records_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"record\.json, eval\.json, metrics\.jsonl"):
        load_run(tmp_path)
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=path.name):
            find_runs([path])
    with pytest.raises(UsageError, match="No run was named"):
        find_runs([])


def test_folders_of_runs_are_expanded_and_each_run_comes_once(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("sfa", 0)
    make_run("conventional", 0)
    runs = find_runs([tmp_path, folder, folder.parent])
    assert [run.name for run in runs] == ["conventional-0", "sfa-0"]


def test_folders_of_equal_names_are_told_apart(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        write_json(tmp_path / parent / "sfa" / "record.json", TrainRecord(model="m"))
    assert [run.name for run in find_runs([tmp_path])] == ["a/sfa", "b/sfa"]


def test_published_figures_come_from_a_file_of_records(tmp_path: Path) -> None:
    path = tmp_path / "papers.jsonl"
    for top1 in (0.7, 0.8):
        append_jsonl(path, TrainRecord(model="m", published=True, source="a paper", top1=top1))
    append_jsonl(path, {"no": "record"})
    runs = find_runs([path])
    assert [run.train.top1 for run in runs if run.train] == [0.7, 0.8]
    assert all(run.published for run in runs)
    assert any("record 3" in problem for problem in runs[0].problems)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UsageError, match=r"other\.json"):
        find_runs([tmp_path / "other.json"])
