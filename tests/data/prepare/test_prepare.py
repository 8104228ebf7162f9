"""The job: continued after any kill with the same files, stopped by a full disk, shared between machines."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kinelite.data.exclusions import read_exclusions
from kinelite.data.manifest import Manifest, Row
from kinelite.data.prepare import maker
from kinelite.data.prepare.estimate import choose_format, estimate, spread
from kinelite.data.prepare.job import Prepared, prepare
from kinelite.data.prepare.plan import finished, make_plan, verify
from kinelite.data.prepare.store import Settings, Shard, read_index
from kinelite.data.sets import load_set
from kinelite.errors import DataError, SetupError, UsageError

JPEG = Settings("jpeg", 90, short_side=16)


@pytest.fixture(scope="module")
def clips(clip_folder: Path) -> Manifest:
    return load_set(f"folder:{clip_folder}")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith(".lock")
    }


def run(manifest: Manifest, folder: Path, settings: Settings = JPEG, shard: str = "1/1", **more: object) -> Prepared:
    return prepare(make_plan(manifest, folder, settings, Shard.parse(shard)), **{"workers": 0, **more})  # type: ignore[arg-type]


def test_the_number_of_workers_changes_nothing(clips: Manifest, tmp_path: Path) -> None:
    done = run(clips, tmp_path / "a")
    assert (done.clips, done.made, done.failed, done.cut) == (12, 12, 0, 0)
    assert run(clips, tmp_path / "b", workers=2).made == 12
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert run(clips, tmp_path / "a").made == 0


SCRIPT = """
import sys
from pathlib import Path
from kinelite.data.prepare.job import prepare
from kinelite.data.prepare.plan import make_plan
from kinelite.data.sets import load_set
from kinelite.data.prepare.store import Settings
prepare(make_plan(load_set(sys.argv[1]), Path(sys.argv[2]), Settings("jpeg", 90, short_side=16)), workers=1)
"""


def test_killed_anywhere_it_continues_and_ends_with_the_same_files(clip_folder: Path, tmp_path: Path) -> None:
    clips = load_set(f"folder:{clip_folder}")
    run(clips, tmp_path / "whole")
    folder, kills = tmp_path / "killed", 0
    for wanted in (0, 3, 9):
        with subprocess.Popen([sys.executable, "-c", SCRIPT, f"folder:{clip_folder}", str(folder)]) as process:
            while process.poll() is None and sum(1 for _ in folder.glob("clips/*/*.clip")) <= wanted:
                time.sleep(0.002)
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
    assert kills
    # A kill in the middle of a line and of a file.
    index = folder / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-5])
    (folder / "clips/0000/.5.1of1.tmp").write_bytes(b"half")
    assert run(clips, folder).clips == 12
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_clip_that_is_gone_cut_or_whose_original_changed_is_made_again(clip_folder: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(clip_folder, tmp_path / "clips"))
    clips = load_set(f"folder:{root}")
    run(clips, tmp_path / "a")
    before = contents(tmp_path / "a")
    first, second, *_ = sorted((tmp_path / "a").glob("clips/*/*.clip"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    shutil.copy(root / "moves_right/1.mp4", root / "moves_right/0.mp4")
    plan = make_plan(clips, tmp_path / "a", JPEG)
    assert sorted(set(range(12)) - set(finished(plan))) == [0, 1, 6]
    assert prepare(plan, workers=0).made == 3
    after = contents(tmp_path / "a")
    assert {name for name in before if before[name] != after[name]} == {"clips/0000/0000006-0.clip", "index.jsonl"}


def test_verify_finds_what_size_does_not_show(clips: Manifest, tmp_path: Path) -> None:
    run(clips, tmp_path)
    plan = make_plan(clips, tmp_path, JPEG)
    done = finished(plan)
    assert verify(plan, done) == []
    file = tmp_path / "clips/0000/0000003-3.clip"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert verify(plan, done) == [str(file)]


def test_sources_that_fail_are_listed_left_out_and_tried_again(clip_folder: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(clip_folder, tmp_path / "clips"))
    bad = root / "moves_down" / "3.mp4"
    bad.write_bytes(bytes(1000))
    clips = load_set(f"folder:{root}")
    done = run(clips, tmp_path / "a")
    assert (done.clips, done.made, done.failed) == (12, 11, 1)
    assert read_exclusions(tmp_path / "a" / "failed.csv") == {(str(bad), None, None)}
    assert len(load_set(f"folder:{root},exclude={tmp_path / 'a' / 'failed.csv'}").rows) == 11
    shutil.copy(root / "moves_down" / "4.mp4", bad)
    done = run(clips, tmp_path / "a")
    assert (done.made, done.failed) == (1, 0)
    assert not (tmp_path / "a" / "failed.csv").exists()


def test_another_set_or_other_settings_are_refused_with_the_difference(clips: Manifest, tmp_path: Path) -> None:
    run(clips, tmp_path)
    with pytest.raises(UsageError, match="short_side 16 there, 24 now"):
        make_plan(clips, tmp_path, Settings("jpeg", 90, short_side=24))
    fewer = Manifest(clips.name, clips.tasks, clips.rows[1:])
    with pytest.raises(UsageError, match=r"clips 12 there, 11 now.*other clips, labels or splits"):
        make_plan(fewer, tmp_path, JPEG)
    swapped = Manifest(clips.name, {"label": clips.classes[::-1]}, clips.rows)
    with pytest.raises(UsageError, match="other classes"):
        make_plan(swapped, tmp_path, JPEG)
    with pytest.raises(DataError, match="nothing to prepare"):
        make_plan(Manifest("none", clips.tasks, ()), tmp_path, JPEG)


def test_a_full_disk_stops_and_loses_nothing(clips: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, count = os.replace, 0

    def full(source: str, target: str) -> None:
        nonlocal count
        count += str(target).endswith(".clip")
        if count == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(maker.os, "replace", full)
        with pytest.raises(SetupError, match="the disk is full"):
            run(clips, tmp_path / "a")
    assert len(read_index(tmp_path / "a" / "index.jsonl")) == 4
    assert not list((tmp_path / "a").glob("clips/*/.*"))
    assert run(clips, tmp_path / "a").made == 8
    run(clips, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_worker_passes_on_that_the_disk_is_full(clips: Manifest, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "clips").write_text("a file is in the way")
    with pytest.raises(SetupError, match="Cannot write into"):
        run(clips, tmp_path / "a", workers=2)


def test_a_limit_on_bytes(clips: Manifest, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="max-disk-gib is reached"):
        run(clips, tmp_path, max_bytes=10_000.0)
    made = len(read_index(tmp_path / "index.jsonl"))
    assert 0 < made < 12
    assert run(clips, tmp_path).made == 12 - made


def test_machines_share_the_work(clips: Manifest, tmp_path: Path) -> None:
    run(clips, tmp_path / "whole")
    for number in (2, 1, 3):
        assert run(clips, tmp_path / "shared", shard=f"{number}/3").clips == 4
    whole, shared = contents(tmp_path / "whole"), contents(tmp_path / "shared")
    assert {k: v for k, v in whole.items() if k != "index.jsonl"} == {
        k: v for k, v in shared.items() if not k.startswith("index")
    }
    assert sorted(k for k in shared if k.startswith("index")) == [f"index-{n}-of-3.jsonl" for n in (1, 2, 3)]


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "a/b", "-1/2", "1/2/3"])
def test_shards_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError, match="number/of"):
        Shard.parse(text)


def test_rows_of_one_clip_share_a_file(clips: Manifest, tmp_path: Path) -> None:
    row = clips.rows[0]
    twice = Manifest("x", clips.tasks, (row, Row(row.path, (1,), "val"), Row(row.path, (0,), "val", 0.1, 0.3)))
    assert run(twice, tmp_path).clips == 2
    loaded = load_set(f"store:{tmp_path}")
    assert loaded.rows[0].path == loaded.rows[1].path != loaded.rows[2].path
    assert [r.labels for r in loaded.rows] == [(row.labels[0],), (1,), (0,)]


def test_two_at_once_are_refused(clips: Manifest, tmp_path: Path) -> None:
    plan = make_plan(clips, tmp_path, JPEG)
    code = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, 2); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UsageError, match="Another process"):
            prepare(plan, workers=0)
        other.kill()


TROUBLE = """
import os, signal, time
import kinelite.data.prepare.maker as worker

make = worker.make

def trouble(task):
    if task.clip == 1:
        time.sleep(1000)
    if task.clip == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(task)

worker.make = trouble
import sys
if "kinelite.data.prepare.maker" in sys.orig_argv:  # '-m' would load the module anew, without the change
    from kinelite.data.serve import serve
    serve(*sys.orig_argv[-2:], worker.start)
    os._exit(0)
"""


def test_a_crash_and_a_hang_cost_one_clip(clips: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(TROUBLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    plan = make_plan(clips, tmp_path / "store", JPEG)
    assert prepare(plan, workers=2, limit_s=2.0).failed == 2
    errors = {clip: entry.error for clip, entry in read_index(plan.index).items()}
    assert [clip for clip, error in errors.items() if error] == [1, 2]
    assert errors[1] == "took longer than 2 s"
    assert errors[2] == "ended the process that decoded it (signal SIGKILL)"
    (tmp_path / "sitecustomize.py").unlink()
    assert prepare(plan, workers=2).failed == 0, "what failed is tried again"


def test_estimates_come_close(clips: Manifest, tmp_path: Path) -> None:
    found = estimate(clips.rows, JPEG)
    done = run(clips, tmp_path)
    assert found.clips == 8
    assert found.bytes_per_clip == pytest.approx(done.bytes / 12, rel=0.1)
    assert found.raw_bytes_per_clip == 12 * 16 * 16 * 3
    assert found.original_bytes_per_clip == pytest.approx(
        sum(os.path.getsize(row.path) for row in clips.rows) / 12, rel=0.1
    )


def test_the_format_is_the_fastest_that_stays_small(clips: Manifest, tmp_path: Path) -> None:
    assert choose_format(clips.rows, Settings(size=8, frames=2)).settings.format == "raw"
    chosen = choose_format(clips.rows, Settings(short_side=32))
    assert chosen.share <= 2 or chosen.settings.gop == 8
    assert chosen.settings.format != "raw"


def test_nothing_decodes(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"noise")
    with pytest.raises(DataError, match=r"None of the clips.*a\.mp4"):
        estimate([Row(str(tmp_path / "a.mp4"), (0,), "train")], JPEG)


def test_the_sample_is_spread() -> None:
    rows = [Row(str(n), (0,), "train") for n in range(100)]
    assert [int(row.path) for row in spread(rows)] == [6, 18, 31, 43, 56, 68, 81, 93]
    assert spread(rows[:3]) == rows[:3]


def test_names_that_are_not_utf8(clips: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "x\udc80 é.mp4"
    shutil.copy(clips.rows[0].path, path)
    odd = Manifest("odd", {"label": ("a", "b\udcff é")}, (Row(str(path), (1,), "train"), clips.rows[1]))
    done = run(odd, tmp_path / "store", workers=1)
    assert (done.made, done.failed) == (2, 0)
    found = load_set(f"store:{tmp_path / 'store'}")
    assert found.classes == ("a", "b\udcff é")
    assert finished(make_plan(odd, tmp_path / "store", JPEG)) == read_index(tmp_path / "store" / "index.jsonl")
    path.write_bytes(b"noise")
    assert run(odd, tmp_path / "store", workers=1).failed == 1
    assert "x\\udc80 é.mp4" in (tmp_path / "store" / "failed.csv").read_text(encoding="utf-8")
