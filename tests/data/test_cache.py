from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from kinelite.data.cache import build_once, cache_folder
from kinelite.errors import SetupError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path) -> None:
    (folder / "one.txt").write_text("one")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    assert cache_folder() == cache
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINELITE_CACHE", "here")
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("KINELITE_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "kinelite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "kinelite"


def test_a_thing_is_built_once(cache: Path) -> None:
    folder = build_once("thing", write)
    assert folder == cache / "thing"
    assert (folder / "one.txt").read_text() == "one"

    def again(folder: Path) -> None:
        raise AssertionError("built twice")

    assert build_once("thing", again) == folder


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_build_leaves_nothing(cache: Path, interruption: type[BaseException]) -> None:
    def half(folder: Path) -> None:
        write(folder)
        assert not (cache / "thing").exists()
        raise interruption

    with pytest.raises(interruption):
        build_once("thing", half)
    assert list(cache.iterdir()) == []


def test_of_two_builds_at_once_the_first_to_end_wins(cache: Path) -> None:
    def slow(folder: Path) -> None:
        build_once("thing", write)
        (folder / "late.txt").write_text("late")

    folder = build_once("thing", slow)
    assert [path.name for path in folder.iterdir()] == ["one.txt"]
    assert list(cache.iterdir()) == [folder]


def test_a_full_disk_is_a_sentence(cache: Path) -> None:
    def full(folder: Path) -> None:
        write(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SetupError, match=r"cache: No space left on device.*KINELITE_CACHE="):
        build_once("thing", full)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_a_sentence(cache: Path) -> None:
    cache.write_text("a file stands where the folder should be")
    with pytest.raises(SetupError, match=r"Cannot write to the cache folder .*cache.*KINELITE_CACHE="):
        build_once("thing", write)


def test_only_what_was_abandoned_long_ago_is_swept_away(cache: Path) -> None:
    old, fresh, other = (cache / name for name in (".thing.0000", ".thing.1111", ".other.2222"))
    for folder in (old, fresh, other):
        folder.mkdir(parents=True)
    days_ago = time.time() - 3 * 86400
    os.utime(old, (days_ago, days_ago))
    os.utime(other, (days_ago, days_ago))
    build_once("thing", write)
    assert sorted(path.name for path in cache.iterdir()) == [".other.2222", ".thing.1111", "thing"]
