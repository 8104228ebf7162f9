"""kinelite recommend and kinelite report of measurements: what they print, return and refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_bench import CPU, awkward, made, made_set

from kinelite.commands import recommend_
from kinelite.records import BenchRecord, EvalRecord, append_jsonl, cores, cpu_name, write_json

HERE = {"device_name": cpu_name(), "threads": cores(), "environment": CPU | {"cpu": cpu_name(), "cores": cores()}}


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A file of measurements as if made on this machine."""
    for record in made_set(**HERE):
        append_jsonl(tmp_path / "bench.jsonl", record, sync=False)
    return tmp_path / "bench.jsonl"


def test_a_report_of_measurements(kinelite: Any, tmp_path: Path) -> None:
    for record in awkward():
        if (record.mode, record.precision) == ("batch", "fp32"):
            append_jsonl(tmp_path / "bench" / "a.jsonl", record, sync=False)
    with open(tmp_path / "bench" / "a.jsonl", "a") as file:
        file.write('{"cut')
    done = kinelite("report", tmp_path / "bench", "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert "a.jsonl: line 14 is damaged" in done.err
    assert "12 measurements and 1 failures in 1 columns" in done.out
    assert "failed: the process ended with signal 9 (killed)" in done.out
    found = done.json["benchmark"]
    assert Path(found["page"]).is_file()
    assert done.json["page"] == found["page"]
    assert len(found["problems"]) == 1
    assert len(found["columns"]) == 1
    assert {row["status"] for row in found["measurements"]} == {"ok", "failed"}


def test_recommend_by_what_was_measured(kinelite: Any, records: Path) -> None:
    done = kinelite("recommend", "--device", "cpu", "--max-latency-ms", 200, "--records", records, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert "13 of 13 models are measured" in done.out
    assert found["recommended"] == ["movinet_a0", "movinet_a2"] or set(found["recommended"]) <= {
        "movinet_a0", "movinet_a2", "x3d_xs", "vtn_eff",
    }  # fmt: skip
    for model in found["models"]:
        assert model["latency_ms"]["basis"] == "measured"
        assert model["reason"]
        assert model["chosen"] == (model["model"] in found["recommended"])
        if model["latency_ms"]["value"] > 200:
            assert "is above 200 ms" in model["reason"]
    assert found["request"]["data"] == "ssv2"


def test_records_of_another_machine_do_not_answer_for_this_one(kinelite: Any, tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    for record in made_set(device_name="Another CPU"):
        append_jsonl(file, record, sync=False)
    done = kinelite("recommend", "--device", "cpu", "--records", file, "--json")
    assert all(model["latency_ms"] is None for model in done.json["models"])
    assert "--measure" in done.out
    other = kinelite("recommend", "--device", "another cpu", "--records", file, "--json").json
    assert all(model["latency_ms"]["basis"] == "measured" for model in other["models"])


def test_a_card_that_nothing_was_measured_on_is_predicted_and_labelled(kinelite: Any, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    append_jsonl(tmp_path / "none" / "a.jsonl", made("x3d_xs", "single", 3.0), sync=False)
    done = kinelite("recommend", "--device", "rtx 3090", "--max-memory", "8GiB", "--records", tmp_path, "--json")
    assert done.code == 0, done.err
    assert {model["latency_ms"]["basis"] for model in done.json["models"]} == {"predicted"}
    assert all("RTX 3090" in model["latency_ms"]["why"] for model in done.json["models"])
    assert "~" in done.out


def test_own_runs_give_the_set_and_the_accuracy(kinelite: Any, records: Path, tmp_path: Path) -> None:
    for model, top1 in (("x3d_xs", 0.8), ("movinet_a0", 0.9)):
        write_json(tmp_path / "runs" / model / "eval.json", EvalRecord(model=model, data="folder:clips/", top1=top1))
    done = kinelite("recommend", "--device", "cpu", "--records", records, tmp_path / "runs", "--json")
    assert done.json["request"]["data"] == "folder:clips/"
    assert done.json["recommended"] == ["movinet_a0"]
    reasons = {model["model"]: model["reason"] for model in done.json["models"]}
    assert reasons["x3d_xs"].startswith("movinet_a0 is better")
    assert "its accuracy on folder:clips/ is unknown" in reasons["vtn_r50"]


def test_measure_measures_what_is_missing_and_only_that(
    kinelite: Any, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def measure(models: Any, modes: Any, device: str, precision: str | None, out: Path) -> list[BenchRecord]:
        asked.append((list(models), list(modes), device, precision, out))
        return [made(model, mode, 7.0, **HERE) for model in models for mode in modes]

    monkeypatch.setattr(recommend_, "measure_now", measure)
    flags = ["--device", "cpu", "--records", records, "--models", "x3d_xs", "tsm_mobilenet_v2", "--measure"]
    done = kinelite("recommend", *flags, "--out", tmp_path / "new.jsonl", "--json")
    assert done.code == 0, done.err
    assert asked == [(["tsm_mobilenet_v2"], ["single"], "cpu", None, tmp_path / "new.jsonl")]
    found = {model["model"]: model["latency_ms"] for model in done.json["models"]}
    assert (found["tsm_mobilenet_v2"]["value"], found["tsm_mobilenet_v2"]["basis"]) == (7.0, "measured")
    kinelite("recommend", *flags, "--device", "rtx 3090").failed(2, "not a device of it")


def test_measure_now_asks_the_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The seam, with the benchmark's own signature."""
    import inspect

    from kinelite.bench import run

    said: list[Any] = []
    signature = inspect.signature(run.bench)
    monkeypatch.setattr(run, "bench", lambda *args, **more: said.append(signature.bind(*args, **more).arguments) or [])
    assert recommend_.measure_now(["x3d_xs"], ["single"], "cpu", None, tmp_path / "a.jsonl") == []
    assert said[0]["models"] == ["x3d_xs"]
    assert said[0]["precisions"] == ["auto"]
    assert said[0]["out"] == tmp_path / "a.jsonl"


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--max-memory", "8"], ["--max-memory 8", "8GiB"]),
        (["--max-latency-ms", "-3"], ["--max-latency-ms -3", "above 0"]),
        (["--min-accuracy", "600"], ["per cent"]),
        (["--device", "rtx 309"], ["Unknown device 'rtx 309'", "RTX 3090"]),
        (["--models", "x3d_xz"], ["Unknown model 'x3d_xz'", "x3d_xs"]),
        (["--records", "nowhere"], ["nowhere"]),
        (["--mode", "decode"], ["decode"]),
    ],
    ids=str,
)
def test_mistakes_are_answered(
    kinelite: Any, flags: list[str], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kinelite("recommend", *(["--device", "cpu"] if "--device" not in flags else []), *flags).failed(2, *parts)


def test_percent_and_share_mean_the_same(kinelite: Any, records: Path) -> None:
    base = ("recommend", "--device", "cpu", "--records", records, "--json", "--min-accuracy")
    assert kinelite(*base, "58").json["request"]["min_accuracy"] == pytest.approx(0.58)
    assert kinelite(*base, "0.58").json["recommended"] == kinelite(*base, "58").json["recommended"]
