"""``store:DIR``: the same set, wherever the folder is moved."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinelite.config import SplitConfig
from kinelite.data.decode import read_clip
from kinelite.data.manifest import Joint, Manifest
from kinelite.data.prepare.job import prepare
from kinelite.data.prepare.plan import make_plan
from kinelite.data.prepare.store import Settings, Shard
from kinelite.data.sets import load_set
from kinelite.errors import DataError, UsageError

JPEG = Settings("jpeg", 90, short_side=16)


@pytest.fixture(scope="module")
def clips(clip_folder: Path) -> Manifest:
    found = load_set(f"folder:{clip_folder}")
    rows = tuple(replace(row, labels=(row.labels[0], k % 2), group=f"g{k}") for k, row in enumerate(found.rows))
    joint = Joint("action", {"verb": found.classes, "noun": ("a", "b")})
    tasks = {"verb": found.classes, "noun": ("a", "b")}
    return replace(found, tasks=tasks, rows=rows, policy="lightweight_epic", joint=joint, absent=("x.mp4",))


@pytest.fixture(scope="module")
def whole(clips: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    prepare(make_plan(clips, folder, JPEG), workers=0)
    return folder


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "moved"))


def test_everything_but_the_files_is_that_of_the_set(clips: Manifest, store: Path) -> None:
    found = load_set(f"store:{store}")
    assert (found.tasks, found.policy, found.joint) == (clips.tasks, clips.policy, clips.joint)
    assert found.absent == clips.absent
    assert [(r.labels, r.split, r.group) for r in found.rows] == [(r.labels, r.split, r.group) for r in clips.rows]
    assert any("jpeg at 90, short side 16, all frames" in note for note in found.notes)
    for row, original in zip(found.rows, clips.rows, strict=True):
        assert Path(row.path).is_relative_to(store)
        assert np.array_equal(read_clip(row.path, 3).pts_s, read_clip(original.path, 3).pts_s)


def test_splits_are_kept_or_made_anew_as_the_set_would(clip_folder: Path, store: Path) -> None:
    folds = SplitConfig(folds=3, fold=1, group=r"(\d)\.mp4")
    with pytest.raises(UsageError, match="resplit=true"):
        load_set(f"store:{store}", folds)
    anew = load_set(f"store:{store},resplit=true", folds)
    direct = load_set(f"folder:{clip_folder}", folds)
    assert [(r.split, r.group) for r in anew.rows] == [(r.split, r.group) for r in direct.rows]


def test_a_store_that_is_not_finished(clips: Manifest, tmp_path: Path) -> None:
    prepare(make_plan(clips, tmp_path, JPEG, Shard(1, 3)), workers=0)
    prepare(make_plan(clips, tmp_path, JPEG, Shard(3, 3)), workers=0)
    with pytest.raises(DataError, match=r"shard 2/3 is missing \(4 of 12 clips\)"):
        load_set(f"store:{tmp_path}")
    part = load_set(f"store:{tmp_path},allow=partial")
    assert len(part.rows) == 8
    assert any("shard 2/3 is missing" in note for note in part.notes)
    index = tmp_path / "index-3-of-3.jsonl"
    index.write_bytes(b"".join(index.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match="shard 2/3 is missing, shard 3/3 lacks 1 clips"):
        load_set(f"store:{tmp_path}")
    prepare(make_plan(clips, tmp_path, JPEG, Shard(2, 3)), workers=0)
    prepare(make_plan(clips, tmp_path, JPEG, Shard(3, 3)), workers=0)
    assert len(load_set(f"store:{tmp_path}").rows) == 12


def test_failed_clips_are_left_out_and_named(clip_folder: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(clip_folder, tmp_path / "clips"))
    (root / "moves_down" / "3.mp4").write_bytes(b"")
    prepare(make_plan(load_set(f"folder:{root}"), tmp_path / "store", JPEG), workers=0)
    found = load_set(f"store:{tmp_path / 'store'}")
    assert len(found.rows) == 11
    assert found.absent == ("moves_down/3.mp4",)
    assert any("Left out: 1 clips" in note for note in found.notes)


def test_damage_to_the_folder_is_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="kinelite data prepare SPEC --out"):
        load_set(f"store:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match=r"store\.json"):
        load_set("store:")
    card, rows, index = store / "store.json", store / "rows.jsonl", store / "index.jsonl"
    good = {file: file.read_bytes() for file in (card, rows, index)}

    def broken(file: Path, content: bytes, match: str) -> None:
        file.write_bytes(content)
        with pytest.raises(DataError, match=match):
            load_set(f"store:{store}")
        file.write_bytes(good[file])

    broken(card, good[card][:50], "not JSON")
    broken(card, b"[]", "version None")
    tree = json.loads(good[card])
    broken(card, json.dumps({**tree, "version": 2}).encode(), "version 2; this Kinelite reads version 1")
    broken(card, json.dumps({**tree, "tasks": 3}).encode(), "not as Kinelite writes it")
    broken(rows, good[rows][:-9], "does not belong")
    broken(index, b"", "12 of 12 clips are not prepared yet")
    broken(index, b'{"clip": "x"}\n', "not as Kinelite writes it")
    rows.unlink()
    with pytest.raises(DataError, match=r"rows\.jsonl is missing"):
        load_set(f"store:{store}")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (Settings("jpeg", 0), "allowed are 1 to 100"),
        (Settings("h264", 52), "allowed are 0 to 51"),
        (Settings("raw", 5), "allowed are 0 to 0"),
        (Settings("jpeg", 90, gop=2), "1 to 250 with h264"),
        (Settings("h264", 20, gop=0), "1 to 250 with h264"),
        (Settings(short_side=0), "--short-side 0"),
        (Settings(fps=float("nan")), "--fps nan"),
        (Settings(short_side=2, size=2), "--short-side and --size exclude"),
        (Settings(frames=2, stride=2), "--frames and --stride exclude"),
    ],
)
def test_settings_that_cannot_be_meant(settings: Settings, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        settings.check()


def test_loading_a_store_brings_no_decoder_along(store: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom kinelite.data.sets import load_set\n"
        f"load_set({f'store:{store}'!r})\nprint(*[m for m in ('torch', 'av', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
