from __future__ import annotations

import os
from pathlib import Path

import pytest

from kinelite.data.sets._lookup import Entry, VideoIndex, listed_set, settle
from kinelite.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_videos_by_place_and_by_name(tmp_path: Path) -> None:
    touch(
        tmp_path, "a/x.mp4", "a/x.AVI", "b/x.mp4", "a/notes.txt", ".trash/x.mp4", "a/.x.mp4", "v1.2/y.z.mkv", "top.webm"
    )
    index = VideoIndex(tmp_path)
    assert len(index) == 5
    assert index.at("a/x.mp4") == "a/x.mp4"
    assert index.at("a/x.mkv") == "a/x.AVI"
    assert index.at("a/../b/./x.avi") == "b/x.mp4"
    assert index.at("v1.2/y.z") == "v1.2/y.z.mkv"
    assert index.at("a/notes.txt") is None
    assert list(index.named("x")) == ["a/x.AVI", "a/x.mp4", "b/x.mp4"]
    assert index.first(("c", "b", "a"), "x.mp4") == "b/x.mp4"
    assert index.first(("", "a"), "top.mp4") == "top.webm"


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "far", "x.mp4")
    touch(tmp_path / "root", "a/y.mp4")
    (tmp_path / "root/linked").symlink_to(tmp_path / "far")
    (tmp_path / "root/again").symlink_to(tmp_path / "far")
    (tmp_path / "root/a/up").symlink_to(tmp_path / "root")
    index = VideoIndex(tmp_path / "root")
    assert index.named("x") == ["again/x.mp4", "linked/x.mp4"]
    assert index.named("y") == ["a/y.mp4"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=f"{tmp_path} cannot be listed: Permission denied"):
        VideoIndex(tmp_path)


def test_names_out_of_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "x.mp4", "root/y.mp4")
    index = VideoIndex(tmp_path / "root")
    with pytest.raises(DataError, match=r"list, line 1: '\.\./x\.mp4' leads out"):
        index.look_up(("",), "../x.mp4", "list, line 1")
    found = index.look_up(("",), "../x.mp4", "list, line 1", outside=True)
    assert found is not None
    assert Path(found).samefile(tmp_path / "x.mp4")
    assert index.look_up(("",), "../z.mp4", "list, line 1", outside=True) is None


def test_repeated_and_contradicting_entries() -> None:
    entries = [
        Entry("l1", "/b", 0, "val"),
        Entry("l2", "/a", 1, "train"),
        Entry("l3", "/a", 1, "train"),
        Entry("l4", "/a", 1, "train", 1.0, 2.0),
        Entry("l5", "/c", 0, "train"),
        Entry("l6", "/c", 1, "train"),
        Entry("l7", "/c", 0, "train"),
    ]
    kept, notes = settle(entries, refuse=False)
    assert [entry.where for entry in kept] == ["l2", "l4", "l1"]
    assert notes == [
        "Counted once: 2 repeated lines, such as l3: the same clip as in l2 (a).",
        "Left out: 1 clips that have two labels or splits, such as l6: the same clip as in l5 (c).",
    ]
    with pytest.raises(DataError, match="l6: the same clip as in l5"):
        settle(entries, refuse=True)


def test_rows_do_not_depend_on_the_order_of_the_lists(tmp_path: Path) -> None:
    entries = [
        Entry(f"l{i}", f"/{name}", i % 2, side)
        for i, (name, side) in enumerate(zip("cab", ["val", "train", "train"], strict=True))
    ]
    one, other = (
        listed_set("s", {"label": ("x", "y")}, order, ["m", "m"], top=tmp_path, tree="")
        for order in (entries, entries[::-1])
    )
    assert one.rows == other.rows
    assert one.fingerprint() == other.fingerprint()
    assert one.absent == ("m",)
