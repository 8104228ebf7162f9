"""The doctor: every part is looked at, a broken one is a line with a command, and nothing stays behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from kinelite import doctor


def _check(diagnosis: dict[str, Any], name: str) -> dict[str, Any]:
    return next(check for check in diagnosis["checks"] if check["name"] == name)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_working_machine_passes_and_is_left_as_it_was(tmp_path: Path, cache: Path) -> None:
    found = doctor.diagnose(tmp_path / "runs")
    assert found["ok"], doctor.render(found)
    assert json.loads(json.dumps(found)) == found
    assert list(tmp_path.iterdir()) == []
    assert "decoded" in _check(found, "H.264")["found"]
    assert str(cache) in _check(found, "cache folder")["found"]
    text = doctor.render(found)
    for check in found["checks"]:
        assert check["name"] in text
        assert check["found"] in text


@pytest.mark.parametrize("module", ["torch", "av"])
def test_a_missing_library_is_a_line_with_a_command(module: str, tmp_path: Path) -> None:
    # In a process of its own, because torch cannot be taken out of one that has loaded it.
    code = (
        f"import sys, json; sys.modules[{module!r}] = None\n"
        "from kinelite import doctor\n"
        "found = doctor.diagnose(); print(json.dumps(found)); doctor.render(found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    found = json.loads(done.stdout)
    assert not found["ok"]
    check = _check(found, module)
    assert check["status"] == "fail"
    assert check["next"].endswith(f"--force-reinstall {module}")
    assert done.stderr == ""


def test_a_check_that_breaks_is_a_failed_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    def broken() -> doctor.Check:
        raise ZeroDivisionError("as\nit goes")

    monkeypatch.setattr(doctor, "_devices", broken)
    found = doctor.diagnose(tmp_path)
    assert not found["ok"]
    assert _check(found, "devices")["found"] == "ZeroDivisionError: as it goes"


def test_a_decoder_that_returns_another_picture_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = doctor._encode
    monkeypatch.setattr(doctor, "_encode", lambda av, picture: encode(av, 255 - picture))
    assert doctor._round_trip().status == "fail"


def test_no_encoder_is_worth_knowing_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(av: object, picture: object) -> None:
        raise ValueError("Unknown encoder 'libx264'")

    monkeypatch.setattr(doctor, "_encode", none)
    check = doctor._round_trip()
    assert check.status == "warn"
    assert "libx264" in check.found


def test_a_folder_that_cannot_be_written_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    def refused(dir: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    check = _check(doctor.diagnose(tmp_path / "runs"), "cache folder")
    assert check["status"] == "fail"
    assert "KINELITE_CACHE" in check["next"]


@pytest.mark.parametrize(("free_gib", "status"), [(0.1, "fail"), (2.0, "warn"), (50.0, "ok")])
def test_little_space_is_said(free_gib: float, status: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Usage:
        free = int(free_gib * doctor.GIB)

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage)
    assert doctor._folder("runs folder", tmp_path / "a" / "b", "--out FOLDER").status == status


def test_gpus_are_named_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = pytest.importorskip("torch").cuda
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "mem_get_info": lambda i: (3 * doctor.GIB, 8 * doctor.GIB),
        "get_device_capability": lambda i: (7, 5),
        "get_device_name": lambda i=0: "Small GPU",
    }.items():
        monkeypatch.setattr(cuda, name, value)
    check = doctor._devices()
    assert check.status == "ok"
    assert "cuda:0 Small GPU (3.0 of 8.0 GiB free, without bf16)" in check.found
