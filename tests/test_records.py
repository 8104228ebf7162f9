"""Records and their files: strict JSON, atomic replacement, torn lines, full disks."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinelite import records
from kinelite.errors import DataError, SetupError
from kinelite.records import EvalRecord, TrainRecord, append_jsonl, read_jsonl, truncate_jsonl, write_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _no_constants(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return {k: _finite(v) for k, v in value.items()} if isinstance(value, dict) else value


@given(row=st.dictionaries(st.text(), JSON, max_size=4))
def test_any_row_survives_a_file_of_lines(row: dict, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("lines") / "metrics.jsonl"
    append_jsonl(path, row)
    append_jsonl(path, {"next": 1})
    rows, problems = read_jsonl(path)
    assert problems == []
    assert rows == [_finite(row), {"next": 1}]
    for line in path.read_bytes().splitlines():
        json.loads(line, parse_constant=_no_constants)


def test_records_are_flat_json_and_come_back(tmp_path: Path) -> None:
    train = TrainRecord(model="vivit_fe_ti", top1=0.9, stages=[{"name": "short", "froze": []}], seed=1)
    evaluation = EvalRecord(model="vivit_fe_ti", classes=["ä<b>"], confusion=[[3]], per_class={"ä<b>": {"top1": 1.0}})
    for name, record in (("record.json", train), ("eval.json", evaluation)):
        write_json(tmp_path / "new" / name, record)
        saved = json.loads((tmp_path / "new" / name).read_text("utf-8"), parse_constant=_no_constants)
        assert saved["kind"] == record.kind
        assert records.from_dict(type(record), saved | {"of_a_later_version": 1}) == record


@pytest.mark.parametrize("data", [{}, {"model": "x", "top1": "high"}, {"model": "x", "status": "great"}, [1], None])
def test_what_is_no_record_is_refused(data: object) -> None:
    with pytest.raises(DataError, match="not a TrainRecord"):
        records.from_dict(TrainRecord, data)


def test_numbers_of_numpy_and_torch_become_plain() -> None:
    @dataclass
    class Inner:
        path: Path

    torch = pytest.importorskip("torch")
    given_values = {
        "a": np.float32(0.5),
        "b": np.arange(4).reshape(2, 2),
        "c": torch.tensor(3),
        "d": (1, 2),
        "e": Inner(Path("x/y")),
        3: float("inf"),
        "n": np.array([np.nan, 1.0]),
        "t": np.bool_(True),
    }
    wanted = {"a": 0.5, "b": [[0, 1], [2, 3]], "c": 3, "d": [1, 2], "e": {"path": "x/y"}, "3": None, "n": [None, 1.0]}
    assert records.plain(given_values) == wanted | {"t": True}
    with pytest.raises(TypeError, match="set"):
        records.plain({"x": {1}})


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SetupError, match="disk is full") as caught:
        write_json(path, {"a": 2})
    assert str(tmp_path) in str(caught.value)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "read-only"), (errno.EACCES, "permission"), (errno.EPERM, "permission"), (errno.EIO, "error")],
)
def test_what_the_system_refuses_is_a_sentence(number: int, words: str) -> None:
    with pytest.raises(SetupError, match=words), records.explained("runs/a"):
        raise OSError(number, os.strerror(number))


def test_a_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(SetupError, match=r"is a file|in the way"):
        write_json(tmp_path / "run" / "record.json", {})
    with pytest.raises(SetupError, match=r"is a file|in the way"):
        append_jsonl(tmp_path / "run" / "metrics.jsonl", {})


def test_a_torn_line_is_reported_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_jsonl(path, {"step": 1})
    path.write_bytes(path.read_bytes() + '{"step": 2, "name": "ü'.encode()[:-1])
    append_jsonl(path, {"step": 3})
    rows, problems = read_jsonl(path)
    assert [row["step"] for row in rows] == [1, 3]
    assert problems == ["metrics.jsonl: line 2 is damaged and was left out"]


def test_lines_that_are_not_objects_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('[1]\n\n{"step": 1}\n3\n')
    rows, problems = read_jsonl(path)
    assert rows == [{"step": 1}]
    assert [p.split()[2] for p in problems] == ["1", "4"]
    assert read_jsonl(tmp_path / "none.jsonl")[0] == []
    assert "No such file" in read_jsonl(tmp_path / "none.jsonl")[1][0]


def test_truncating_keeps_what_the_checkpoint_knows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert truncate_jsonl(path, lambda row: True) == []
    assert not path.exists()
    for step in range(5):
        append_jsonl(path, {"step": step, "loss": 0.1 * step})
    before = path.read_bytes().splitlines()
    path.write_bytes(path.read_bytes() + b'{"st')
    problems = truncate_jsonl(path, lambda row: row["step"] <= 2)
    assert path.read_bytes().splitlines() == before[:3]
    assert len(problems) == 1
    append_jsonl(path, {"step": 3})
    assert [row["step"] for row in read_jsonl(path)[0]] == [0, 1, 2, 3]


def test_a_file_name_that_is_not_utf8_comes_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.avi")
    append_jsonl(tmp_path / "a.jsonl", {"path": name})
    assert read_jsonl(tmp_path / "a.jsonl") == ([{"path": name}], [])


@pytest.mark.parametrize(
    ("flags", "name"),
    [("sse2 avx2 avx512f", "AMD EPYC, AVX-512"), ("sse2 avx avx2", "AMD EPYC, AVX2"), ("sse2", "AMD EPYC")],
    ids=str,
)
def test_processors_of_one_name_differ_in_their_vectors(
    flags: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = f"processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: {flags}\n\nprocessor\t: 1\nmodel name\t: other\n"
    (tmp_path / "cpuinfo").write_text(said)
    monkeypatch.setattr(records, "Path", lambda _: tmp_path / "cpuinfo")
    assert records.cpu_name() == name


def test_environment_names_what_the_numbers_depend_on() -> None:
    found = records.environment()
    assert json.loads(json.dumps(found)) == found
    assert found["kinelite"]
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["memory_gib"] is None or 0 < found["memory_gib"] < 1e6
    assert found["numpy"] == np.__version__
