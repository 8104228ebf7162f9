from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinelite.data.exclusions import clip_key, read_exclusions, read_reasons, without, write_exclusions
from kinelite.data.manifest import Manifest, Row
from kinelite.errors import DataError

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=12).filter(
    lambda name: name == name.strip() and name not in (".", "..") and len(name.splitlines()) == 1
)
TIMES = st.none() | st.floats(0, 1e6)


def here(*rows: Row) -> Manifest:
    return Manifest("set", {"label": ("a", "b")}, rows)


@settings(max_examples=60)
@given(clips=st.lists(st.tuples(NAMES, TIMES, TIMES), min_size=1, max_size=6))
def test_what_is_written_is_read(clips: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("list")
    keys = {(str(folder / name), start_s, end_s) for name, start_s, end_s in clips}
    write_exclusions(folder / "bad.csv", [(key, 'a "reason", of two\nlines') for key in keys])
    assert read_exclusions(folder / "bad.csv") == keys


def test_paths_below_the_list_move_with_it_and_others_are_absolute(tmp_path: Path) -> None:
    (tmp_path / "a" / "clips").mkdir(parents=True)
    inside, outside = tmp_path / "a" / "clips" / "1.mp4", tmp_path / "b" / "2.mp4"
    write_exclusions(tmp_path / "a" / "bad.csv", [((str(p), None, None), "r") for p in (inside, outside)])
    (tmp_path / "a").rename(tmp_path / "moved")
    found = {path for path, _, _ in read_exclusions(tmp_path / "moved" / "bad.csv")}
    assert found == {str(tmp_path / "moved" / "clips" / "1.mp4"), str(outside)}


def test_relative_clips_are_left_out_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    write_exclusions("lists.csv", [(clip_key(Row("clips/1.mp4", (0,), "")), "r")])
    monkeypatch.chdir(tmp_path / "elsewhere")
    rows = (Row("../clips/1.mp4", (0,), "train"), Row("../clips/2.mp4", (0,), "train"))
    kept = without(here(*rows), "../lists.csv")
    assert kept.rows == rows[1:]
    assert kept.notes[-1] == "Left out: 1 clips that ../lists.csv names."


def test_a_part_and_a_whole_file(tmp_path: Path) -> None:
    path = str(tmp_path / "a.mp4")
    rows = (Row(path, (0,), "train", 0.0, 0.1), Row(path, (0,), "train", 0.1, 1 / 3), Row(path + "x", (0,), "val"))
    write_exclusions(tmp_path / "bad.csv", [(clip_key(rows[1]), "one"), (clip_key(rows[1]), "two")])
    assert without(here(*rows), str(tmp_path / "bad.csv")).rows == (rows[0], rows[2])
    assert list(read_reasons(tmp_path / "bad.csv").values()) == ["one; two"]
    (tmp_path / "whole.csv").write_text("path\na.mp4\n")
    assert without(here(*rows), str(tmp_path / "whole.csv")).rows == rows[2:]


def test_a_list_without_clips_excludes_nothing_and_one_of_another_set_is_refused(tmp_path: Path) -> None:
    rows = (Row("a.mp4", (0,), "train"),)
    write_exclusions(tmp_path / "empty.csv", [])
    assert without(here(*rows), str(tmp_path / "empty.csv")).rows == rows
    (tmp_path / "other.csv").write_text("path,start_s,end_s\nb.mp4,,\n")
    with pytest.raises(DataError, match=r"names 1 clips, none of which is in 'set'.*b\.mp4"):
        without(here(*rows), str(tmp_path / "other.csv"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\na.mp4\n", "no column 'path'"),
        ("path,start_s\na.mp4,soon\n", "line 2: start_s 'soon' is not a number"),
        ("path,start_s\na.mp4,-1\n", "line 2: start_s is -1"),
    ],
)
def test_a_list_that_is_damaged_is_named_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_exclusions(tmp_path / "bad.csv")


@pytest.mark.skipif(os.name != "posix", reason="names of bytes are a matter of POSIX")
def test_names_that_are_not_utf8_do_not_stop_the_writing(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    write_exclusions(tmp_path / "bad.csv", [((str(tmp_path / name), None, None), "r")])
    assert "caf\\udce9.mp4" in (tmp_path / "bad.csv").read_text()


def test_a_list_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("old")

    def clips():  # type: ignore[no-untyped-def]
        yield ("/a.mp4", None, None), "r"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_exclusions(tmp_path / "bad.csv", clips())
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("bad.csv", "old")]
