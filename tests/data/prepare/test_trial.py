"""Trials before the work, and stores that several runs have filled."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinelite.data.manifest import Manifest, Row
from kinelite.data.prepare import trial as module
from kinelite.data.prepare.estimate import choose_format, estimate
from kinelite.data.prepare.job import prepare
from kinelite.data.prepare.maker import source_bytes
from kinelite.data.prepare.pack import pack
from kinelite.data.prepare.plan import Plan, finished, make_plan
from kinelite.data.prepare.store import Settings, Shard, read_index
from kinelite.data.prepare.trial import guarded, trial
from kinelite.data.sets import load_set

JPEG = Settings("jpeg", 90, short_side=16)

TROUBLE = """
import os, signal, sys, time
import kinelite.data.prepare.trial as module

trial = module.trial

def trouble(row, settings):
    with open(os.environ["TRIED"], "a") as file:
        file.write(os.path.basename(row.path) + "\\n")
    if row.path.endswith("hang.mp4"):
        time.sleep(1000)
    if row.path.endswith("crash.mp4"):
        os.kill(os.getpid(), signal.SIGKILL)
    return trial(row, settings)

module.trial = trouble
if "kinelite.data.prepare.trial" in sys.orig_argv:  # '-m' would load the module anew, without the change
    from kinelite.data.serve import serve
    serve(*sys.orig_argv[-2:], module.start)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def clips(clip_folder: Path) -> Manifest:
    return load_set(f"folder:{clip_folder}")


def test_a_crash_and_a_hang_before_the_work_cost_one_clip(
    clips: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(TROUBLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TRIED", str(tmp_path / "tried"))
    bad = [shutil.copy(clips.rows[0].path, tmp_path / f"{name}.mp4") for name in ("hang", "crash")]
    rows = [Row(str(path), (0,), "train") for path in bad]
    began = time.monotonic()
    with guarded(limit_s=2.0) as attempt:
        found = choose_format([*rows, *clips.rows[:2]], Settings(short_side=32), attempt)
        assert attempt(rows[0], JPEG).error == "took longer than 2 s"
        assert attempt(rows[1], JPEG).error == "ended the process that decoded it (signal SIGKILL)"
    assert found.clips == 2
    assert time.monotonic() - began < 30
    tried = (tmp_path / "tried").read_text().split()
    assert (tried.count("hang.mp4"), tried.count("crash.mp4")) == (1, 2), "what is lost once is not tried again"


def test_a_process_finds_what_this_one_finds(clips: Manifest) -> None:
    with guarded(limit_s=60.0) as attempt:
        there, here = estimate(clips.rows, JPEG, attempt), estimate(clips.rows, JPEG)
    assert (there.clips, there.bytes_per_clip, there.share) == (here.clips, here.bytes_per_clip, here.share)


def test_of_a_long_clip_the_middle_stands_for_the_whole(clips: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    row = clips.rows[0]
    whole = trial(row, JPEG)
    asked: list[Row] = []

    def noted(row: Row, *rest: Any) -> Any:
        asked.append(row)
        return pack(row, *rest)

    monkeypatch.setattr("kinelite.data.prepare.pack.pack", noted)
    monkeypatch.setattr(module, "LONGEST_S", 0.2)
    part = trial(row, JPEG)
    assert asked[0].start_s is not None
    assert asked[0].end_s == pytest.approx(asked[0].start_s + 0.2)
    assert part.original_bytes == whole.original_bytes
    assert part.raw_bytes == pytest.approx(whole.raw_bytes, rel=0.3)
    few = trial(row, Settings("jpeg", 90, short_side=16, frames=4))
    assert asked[1] is row
    assert few.raw_bytes == 4 * 16 * 16 * 3


def filled(manifest: Manifest, folder: Path, shard: str) -> Plan:
    plan = make_plan(manifest, folder, JPEG, Shard.parse(shard))
    prepare(plan, workers=0)
    return plan


def test_what_shards_have_made_is_finished_for_the_whole_and_the_reverse(clips: Manifest, tmp_path: Path) -> None:
    for shard in ("1/2", "2/2"):
        filled(clips, tmp_path, shard)
    whole = make_plan(clips, tmp_path, JPEG)
    assert sorted(finished(whole)) == list(range(12))
    file = tmp_path / "clips/0000/0000003-3.clip"
    file.write_bytes(b"")
    assert prepare(whole, workers=0).made == 1
    assert sorted(finished(make_plan(clips, tmp_path, JPEG, Shard(1, 3)))) == [0, 3, 6, 9]


def test_what_one_run_failed_at_and_another_made_is_usable(clip_folder: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(clip_folder, tmp_path / "clips"))
    bad = root / "moves_down" / "3.mp4"
    good = bad.read_bytes()
    bad.write_bytes(bytes(1000))
    clips = load_set(f"folder:{root}")
    for shard in ("1/2", "2/2"):
        filled(clips, tmp_path / "store", shard)
    assert len(load_set(f"store:{tmp_path / 'store'}").rows) == 11
    bad.write_bytes(good)
    filled(clips, tmp_path / "store", "1/1")
    assert len(load_set(f"store:{tmp_path / 'store'}").rows) == 12


def test_a_folder_of_images_that_has_changed_is_made_anew(tmp_path: Path) -> None:
    import cv2

    rows = []
    for number in range(2):
        folder = tmp_path / f"clip{number}"
        folder.mkdir()
        for i in range(4):
            cv2.imwrite(str(folder / f"{i:05d}.jpg"), np.full((32, 32, 3), 40 * i, np.uint8))
        rows.append(Row(str(folder), (number,), "train"))
    plan = filled(Manifest("x", {"label": ("a", "b")}, tuple(rows)), tmp_path / "store", "1/1")
    assert read_index(plan.index)[0].source_bytes == source_bytes(rows[0].path) > 0
    shutil.copy(tmp_path / "clip1" / "00003.jpg", tmp_path / "clip1" / "00004.jpg")
    assert list(finished(plan)) == [0]
    assert source_bytes(str(tmp_path / "clip0" / "%05d.jpg")) == source_bytes(rows[0].path)
    assert source_bytes(str(tmp_path / "clip0" / "missing.jpg")) == source_bytes(str(tmp_path / "none")) == 0


def test_the_longest_name_fits_into_the_header(clips: Manifest) -> None:
    source = "/".join(["\U0001f600" * 63] * 15)
    assert len(os.fsencode(source)) < 4096
    file = io.BytesIO()
    packed = pack(clips.rows[0], JPEG, file, source)
    assert packed.bytes == len(file.getvalue())


def test_the_work_after_each_clip_does_not_grow_with_the_set(
    clips: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    mine = Plan.mine
    monkeypatch.setattr(Plan, "mine", lambda plan: calls.append(1) or mine(plan))
    prepare(make_plan(clips, tmp_path, JPEG), workers=0, progress=lambda done, total: None)
    assert len(calls) < 5
