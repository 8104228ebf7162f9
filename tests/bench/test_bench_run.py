"""Many measurements: processes of their own, halved batches, records that are never lost, and bad input."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kinelite as kl
from kinelite.bench import apart as apart_module
from kinelite.bench import run as run_module
from kinelite.bench.apart import apart, measured, understood
from kinelite.bench.case import LIGHTWEIGHT, Case, Outcome
from kinelite.bench.pick import pick
from kinelite.cli import main
from kinelite.errors import SetupError, UsageError
from kinelite.records import read_jsonl

SMALL = Case(model="movinet_a0", mode="single", frames=4, size=48, warmup=1, runs=3, limit_s=600)
OK = {"latency_ms_mean": 2.0, "latency_ms_median": 2.0, "latency_ms_p90": 2.5}


def fake(outcomes: dict[int, Outcome] | None = None) -> Any:
    """Instead of a process: what came of each batch."""
    return lambda case: (outcomes or {}).get(case.batch, Outcome(fields=dict(OK)))


def child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let measuring processes run this code instead."""
    monkeypatch.setattr(apart_module, "COMMAND", (sys.executable, "-c", code))


def test_a_real_process_measures() -> None:
    found = apart(SMALL)
    assert (found.status, found.message) == ("ok", "")
    assert len(found.fields["samples_ms"]) == 3


def test_a_batch_is_halved_until_it_fits_and_each_failure_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Outcome("oom", "does not fit")
    monkeypatch.setattr(apart_module, "apart", fake({8: full, 4: full}))
    found = list(measured(replace(SMALL, mode="train", batch=8)))
    assert [(r.batch, r.status, r.asked_batch) for r in found] == [(8, "oom", 8), (4, "oom", 8), (2, "ok", 8)]


def test_one_clip_that_does_not_fit_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart_module, "apart", lambda case: Outcome("oom", "does not fit"))
    assert [r.batch for r in measured(replace(SMALL, batch=2))] == [2, 1]


def test_a_killed_process_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    child(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    found = apart(SMALL)
    assert found.status == "oom"
    assert "killed" in found.message


def test_a_crash_and_an_exception_are_records(monkeypatch: pytest.MonkeyPatch) -> None:
    child(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGABRT)")
    assert apart(SMALL) == Outcome("failed", "the process ended by SIGABRT")
    child(monkeypatch, "raise SystemExit('no kernel for that')")
    assert apart(SMALL) == Outcome("failed", "the process ended with code 1: no kernel for that")


def test_a_process_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    child(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(apart_module, "SLOW_S", 0.2)
    found = apart(replace(SMALL, limit_s=0.1))
    assert found.status == "failed"
    assert "stopped after 0 s" in found.message


def test_an_exit_without_a_word_is_a_failure() -> None:
    assert understood(0, "", "").status == "failed"
    assert understood(-signal.SIGSEGV, "", "").message == "the process ended by SIGSEGV"


def test_records_are_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, seen = tmp_path / "deep" / "bench.jsonl", []

    def measure_and_look(case: Case) -> Outcome:
        seen.append(len(read_jsonl(out)[0]))
        return Outcome(fields=dict(OK))

    monkeypatch.setattr(apart_module, "apart", measure_and_look)
    found = run_module.bench(["x3d_xs", "movinet_a0"], ["train", "single"], out=out, said=lambda _: None)
    assert seen == [0, 1, 2, 3]
    rows = read_jsonl(out)[0]
    assert [(r["model"], r["mode"], r["batch"]) for r in rows] == [
        ("x3d_xs", "train", 8),
        ("x3d_xs", "single", 1),
        ("movinet_a0", "train", 8),
        ("movinet_a0", "single", 1),
    ]
    assert [r.model for r in found] == [r["model"] for r in rows]
    assert all(r["environment"]["torch"] and r["command"] for r in rows)


def test_what_is_done_is_left_out_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, full = tmp_path / "bench.jsonl", Outcome("oom", "does not fit")
    monkeypatch.setattr(apart_module, "apart", fake({8: full, 4: Outcome("failed", "a flaw")}))
    lines: list[str] = []
    asked: Any = {"models": ["x3d_xs"], "modes": ["train", "single"], "out": out, "said": lines.append}
    assert [r.status for r in kl.bench(**asked)] == ["oom", "failed", "ok"]
    monkeypatch.setattr(apart_module, "apart", fake({8: full}))
    again = kl.bench(**asked, skip_done=True)
    assert [(r.mode, r.batch, r.status) for r in again] == [("train", 8, "oom"), ("train", 4, "ok")]
    assert kl.bench(**asked, skip_done=True) == []
    assert sum("measured before" in line for line in lines) == 3
    assert len(kl.bench(**asked, skip_done=True, frames=8)) > 0


def test_a_damaged_line_is_named_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "bench.jsonl"
    out.write_text('{"kind": "bench", "model": "a"}\n{"kind": "ben')
    monkeypatch.setattr(apart_module, "apart", fake())
    lines: list[str] = []
    run_module.bench(["x3d_xs"], ["single"], out=out, said=lines.append)
    assert "bench.jsonl: line 2 is damaged" in lines[0]
    rows, problems = read_jsonl(out)
    assert [row["model"] for row in rows] == ["a", "x3d_xs"]
    assert len(problems) == 1


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart_module, "apart", lambda case: pytest.fail("measured all the same"))
    with pytest.raises(SetupError, match="nothing was measured"):
        run_module.bench(["x3d_xs"], out=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="Cannot write into"):
        run_module.bench(["x3d_xs"], out=tmp_path / "file" / "bench.jsonl")


def test_models_are_names_patterns_and_the_papers_thirteen() -> None:
    assert pick(["x3d_xs", "movinet_a[02]", "x3d_xs"]) == ["x3d_xs", "movinet_a0", "movinet_a2"]
    assert pick(["lightweight"]) == list(LIGHTWEIGHT)
    assert len(LIGHTWEIGHT) == 13
    assert pick(["vivit_fe:vit_small_patch14_dinov2"]) == ["vivit_fe:vit_small_patch14_dinov2"]
    with pytest.raises(UsageError, match="Nearest: x3d_s, x3d_xs"):
        pick(["x3d_sx"])


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["x3d_sx"], 2, "Unknown model 'x3d_sx'. Nearest: x3d_"),
        (["x3d_xs", "--device", "gpu"], 2, "Unknown device 'gpu'"),
        (["x3d_xs", "--precision", "fp8"], 2, "Unknown precision 'fp8'"),
        (["x3d_xs", "--runs", "0"], 2, "runs 0: give 1 or more"),
        (["x3d_xs", "--batches.train", "0"], 2, "train batch 0: give 1 or more"),
        (["x3d_xs", "--limit-s", "0"], 2, "--limit-s 0"),
        (["x3d_xs", "--threads", "1000"], 2, "--threads 1000"),
        (["x3d_xs", "--device", "mps"], 3, "PyTorch sees no Apple GPU"),
        ([], 2, "kinelite bench MODEL"),
    ],
)
def test_bad_input_is_a_sentence(args: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *args]) == code
    assert message in capsys.readouterr().err


def test_the_verb_prints_and_gives_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(apart_module, "apart", fake({8: Outcome("failed", "a flaw")}))
    out = tmp_path / "bench.jsonl"
    code = main(["bench", "x3d_xs", "--modes", "train", "single", "--out", str(out), "--json"])
    assert code == 1  # nothing at all was measured of one mode
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "x3d_xs train (batch 8, fp32): failed: a flaw"
    assert lines[1].startswith("x3d_xs single (batch 1, fp32): 2.0 ms")
    assert [r["mode"] for r in json.loads(lines[-1])["records"]] == ["train", "single"]
