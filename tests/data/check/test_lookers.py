"""Looks in processes: what a hang or a crash costs, and what a killed check finds again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kinelite.data.check.journal import Journal, stamp_of
from kinelite.data.check.look import Look
from kinelite.data.check.lookers import look_at
from kinelite.data.check.problems import check_manifest
from kinelite.data.check.survey import survey
from kinelite.data.manifest import Manifest, Row
from kinelite.errors import SetupError


@pytest.fixture
def rows(clip_folder: Path, tmp_path: Path) -> list[Row]:
    """Six good clips, to be spoilt."""
    source = sorted(clip_folder.rglob("*.mp4"))[:6]
    paths = [shutil.copy(path, tmp_path / f"{i}.mp4") for i, path in enumerate(source)]
    return [Row(str(path), (0,), "train") for path in paths]


@pytest.fixture
def odd_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the processes, not here: a file called 2.mp4 hangs and one called 4.mp4 ends its reader."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, time\n"
        "import kinelite.data.check.look as look\n"
        "real = look.probe\n"
        "def probe(path):\n"
        "    if path.endswith('2.mp4'): time.sleep(600)\n"
        "    if path.endswith('4.mp4'): os.abort()\n"
        "    return real(path)\n"
        "look.probe = probe\n"
        # 'python -m' would load the module anew, without what is changed here.
        "import sys, runpy\n"
        "if sys.argv and sys.argv[0] == '-m':\n"
        "    from kinelite.data.serve import serve\n"
        "    serve(*sys.orig_argv[-2:], look.start)\n"
        "    os._exit(0)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def test_processes_find_what_this_one_finds(rows: list[Row]) -> None:
    Path(rows[1].path).write_bytes(b"")
    Path(rows[3].path).write_bytes(os.urandom(5000))
    here = dict(look_at(rows, "full", 0))
    assert dict(look_at(rows, "full", 2)) == here
    assert [i for i in sorted(here) if here[i].problems] == [1, 3]


@pytest.mark.usefixtures("odd_reader")
def test_a_hang_and_a_crash_cost_their_own_clip(rows: list[Row]) -> None:
    begun_s = time.monotonic()
    found = dict(look_at(rows, "ends", 2, limit_s=1.0))
    assert time.monotonic() - begun_s < 30
    assert [i for i in sorted(found) if found[i].problems] == [2, 4]
    assert found[2] == Look((("took longer than 1 s to look at", "error"),), lost="late")
    assert found[4] == Look((("ends the program that decodes it (signal SIGABRT)", "error"),), lost="killed")


@pytest.mark.usefixtures("odd_reader")
def test_who_stops_early_leaves_no_process(rows: list[Row]) -> None:
    looks = look_at(rows[2:], "ends", 2, limit_s=100.0)
    before = _children()
    next(looks)
    assert len(_children() - before) >= 1
    begun_s = time.monotonic()
    looks.close()  # one of them hangs on 2.mp4
    assert time.monotonic() - begun_s < 10
    assert _children() <= before


def _children() -> set[str]:
    """Numbers of this process's own processes that have not ended."""
    found = {pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}
    return {pid for pid in found if (state := Path(f"/proc/{pid}/stat")).exists() and ") Z " not in state.read_text()}


def test_processes_that_cannot_start_are_a_sentence(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false" if Path("/bin/false").exists() else "/usr/bin/false")
    with pytest.raises(SetupError, match="--workers 0"):
        list(look_at(rows, "ends", 2))


def test_a_journal_is_believed_until_a_file_changes(rows: list[Row], tmp_path: Path) -> None:
    file = tmp_path / "looks.jsonl"

    def look(depth: str = "ends", fresh: bool = False) -> tuple[list[Look], int]:
        with Journal(file, fresh) as journal:
            return survey(rows, depth, journal=journal), journal.used  # type: ignore[arg-type]

    first, used = look()
    assert used == 0
    assert look() == (first, 6)
    assert look("facts")[1] == 6
    assert look("full")[1] == 0
    assert look("ends")[1] == 6
    status = os.stat(rows[0].path)
    Path(rows[0].path).write_bytes(bytes(status.st_size))
    os.utime(rows[0].path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    Path(rows[1].path).unlink()
    found, used = look()
    assert used == 4
    assert [i for i, look in enumerate(found) if look.problems] == [0, 1]
    assert look(fresh=True)[1] == 0


def test_a_journal_that_is_torn_or_foreign_is_passed_over(rows: list[Row], tmp_path: Path) -> None:
    file = tmp_path / "looks.jsonl"
    with Journal(file) as journal:
        survey(rows, journal=journal)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"\xff\x00{}\n[1]\n" + b"".join(lines[:4]) + lines[4][:-20])
    with Journal(file) as journal:
        survey(rows, journal=journal)
        assert journal.used == 3
    with Journal(file) as journal:
        survey(rows, journal=journal)
        assert journal.used == 6
    with pytest.raises(SetupError, match="cannot be written"):
        Journal(tmp_path / "0.mp4" / "looks.jsonl")


def test_a_check_goes_on_where_the_journal_cannot(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path / "looks.jsonl") as journal:
        assert journal._file is not None
        journal._file.close()
        monkeypatch.setattr(journal, "_file", open("/dev/full", "w"))  # noqa: SIM115 - closed by the journal
        with pytest.warns(UserWarning, match="/dev/full cannot be written: No space left on device. The check goes on"):
            found = survey(rows, journal=journal)
    assert found == survey(rows)


def test_two_checks_at_once_keep_both_their_looks(rows: list[Row], tmp_path: Path) -> None:
    file = tmp_path / "looks.jsonl"
    with Journal(file) as one:
        survey(rows[:3], journal=one)
        with Journal(file) as other:
            survey(rows[3:], journal=other)
            survey(rows[:1], journal=one)
    with Journal(file) as journal:
        survey(rows, journal=journal)
        assert journal.used == 6


def test_a_limit_that_was_too_short_is_tried_again_with_a_longer_one(rows: list[Row], tmp_path: Path) -> None:
    row, stamp = rows[0], stamp_of(rows[0].path)
    late, killed = (Look((("r", "error"),), lost=how) for how in ("late", "killed"))
    for lost, asked_s, known in ((late, 5.0, True), (late, 20.0, False), (killed, 5.0, False)):
        with Journal(tmp_path / "looks.jsonl", fresh=True) as journal:
            journal.keep(row, stamp, "ends", 10.0, lost)
        with Journal(tmp_path / "looks.jsonl") as journal:
            assert (journal.find(row, stamp, "ends", asked_s) is not None) == known


def test_stamps_change_with_files_folders_and_sequences(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    paths = [str(tmp_path / "frames"), str(tmp_path / "frames" / "img_%05d.jpg")]
    seen = []
    for number in range(2):
        (tmp_path / "frames" / f"img_{number:05d}.jpg").write_bytes(b"x")
        seen.append([stamp_of(path) for path in paths])
    os.utime(tmp_path / "frames" / "img_00000.jpg", ns=(0, 2**61))
    seen.append([stamp_of(path) for path in paths])
    for i in (0, 1):
        assert len({line[i] for line in seen}) == 3
    assert stamp_of(str(tmp_path / "gone.mp4")) is stamp_of(str(tmp_path / "gone" / "a")) is None


@pytest.mark.usefixtures("odd_reader")
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a matter of POSIX")
def test_a_check_that_is_killed_goes_on(rows: list[Row], tmp_path: Path) -> None:
    """The whole program ends by SIGKILL while it waits for a clip that hangs; its processes end as well."""
    out = tmp_path / "bad.csv"
    args = ["data", "check", str(tmp_path), "--workers", "1", "--out", str(out)]
    code = f"from kinelite.cli import main; import sys; sys.exit(main({args!r}))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, env=environment)
    looks = tmp_path / "bad.csv.looks.jsonl"
    for _ in range(600):
        if looks.exists() and looks.read_text().count('"path"') == 2:
            break
        time.sleep(0.05)
    helpers = [
        int(pid) for file in Path("/proc").glob(f"{process.pid}/task/*/children") for pid in file.read_text().split()
    ]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    for _ in range(100):
        if not any(Path(f"/proc/{pid}/fd/0").exists() for pid in helpers):
            break
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}/fd/0").exists() for pid in helpers)
    with Journal(looks) as journal:
        found = check_manifest(Manifest("x", {"label": ("a",)}, tuple(rows)), journal=journal)
        assert (found, journal.used) == ([], 2)
