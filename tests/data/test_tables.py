"""Annotation files as people have them: what is read is right, and what cannot be read is named with its place."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinelite.data.tables import (
    check_times,
    find_file,
    inside,
    number,
    read_json,
    read_lines,
    read_table,
    seconds,
    whole,
)
from kinelite.errors import DataError

CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=6), mark=st.booleans(), crlf=st.booleans())
def test_what_a_csv_writer_wrote_is_read_back(
    rows: list[tuple[str, str]], mark: bool, crlf: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n" if crlf else "\n")
    writer.writerow(["path", "label"])
    writer.writerows(rows)
    file = tmp_path_factory.mktemp("tables") / "a.csv"
    file.write_bytes((b"\xef\xbb\xbf" if mark else b"") + text.getvalue().encode())
    expected = [(a.strip(), b.strip()) for a, b in rows if a.strip() or b.strip()]
    assert [(line["path"], line["label"]) for line in read_table(file, ("path", "label"))] == expected


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_named_problem(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("bytes") / "a.csv"
    file.write_bytes(content)
    for read in (lambda: read_table(file, ("path",)), lambda: read_json(file), lambda: list(read_lines(file))):
        problem = ""
        try:
            read()
        except DataError as error:
            problem = str(error)
        assert not problem or "a.csv" in problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("path,label\na.mp4\n", r"line 2: 1 cells, but there are 2 columns"),
        ("path,path\n", r"'path' is there more than once"),
        ("paths,label\n", r"no column 'path'.*Should 'paths' be called 'path'"),
        ('path,label\n"a.mp4,b\n', r"line 2 cannot be read as CSV"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=said):
        read_table(file, ("path",))


def test_a_table_without_a_header_takes_the_names_given(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("clapping/a.mp4;clapping\n")
    (line,) = read_table(file, delimiter=";", header=("path", "label"))
    assert line == {"path": "clapping/a.mp4", "label": "clapping"}
    assert line.where.endswith("a.csv, line 1")


def test_missing_files_are_named_with_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x")
    with pytest.raises(DataError, match=r"does not exist.*Nearest: train\.csv"):
        read_table(tmp_path / "trian.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(DataError, match=r"holds no list of clips: val\.csv or validate\.csv"):
        find_file(tmp_path, "val.csv", "validate.csv", what="list of clips")
    assert find_file(tmp_path, "t*.csv", what="list") == tmp_path / "train.csv"


def test_json_that_is_none_is_named_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for content in ('{"a": 1,}', "[" * 100_000, "[" + "9" * 5000 + "]", "\xff"):
        file.write_text(content, encoding="latin-1")
        with pytest.raises(DataError, match=r"a\.json"):
            read_json(file)


@pytest.mark.parametrize("name", ["../a.mp4", "/etc/passwd", "x/../../a.mp4", "", "a\0b", ".."])
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="line 7"):
        inside(tmp_path, name, "line 7")


@pytest.mark.parametrize("name", ["a.mp4", "x/../a.mp4", "..a.mp4", "ü/日本.mp4", "./a.mp4"])
def test_paths_that_stay_inside_are_taken(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name, "line 7") == tmp_path / name


def test_paths_outside_are_taken_when_allowed(tmp_path: Path) -> None:
    assert inside(tmp_path, "/data/a.mp4", "line 7", outside=True) == Path("/data/a.mp4")


def test_numbers_are_numbers_or_named(tmp_path: Path) -> None:
    assert whole("here", "label", "12", below=13) == 12
    for text in ("13", "-1", "1.0", "", "٣", "9" * 5000, "0x1"):
        with pytest.raises(DataError, match="here: label"):
            whole("here", "label", text, below=13)
    assert number("here", "start", "1.5") == 1.5
    for text in ("nan", "inf", "x", "1,5"):
        with pytest.raises(DataError, match="here: start"):
            number("here", "start", text)
    assert math.isclose(number("here", "x", "-2"), -2.0)


def test_times_must_not_be_negative_or_reversed(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("path,start_s\na.mp4,-1\nb.mp4,\nc.mp4,2\n")
    first, second, third = read_table(file)
    with pytest.raises(DataError, match="line 2: start_s is -1"):
        seconds(first, "start_s")
    assert seconds(second, "start_s") is None
    assert seconds(third, "start_s") == 2.0
    assert seconds(third, "end_s") is None
    check_times("here", None, None)
    check_times("here", 1.0, 1.5)
    for start_s, end_s in ((2.0, 1.0), (1.0, 1.0), (None, 0.0)):
        with pytest.raises(DataError, match="here: the clip ends"):
            check_times("here", start_s, end_s)


def test_lines_end_where_editors_end_them(tmp_path: Path) -> None:
    # U+2028, U+0085 and form feed end a line for str.splitlines, and may be part of a file's name.
    names = ["a\u2028b.mp4", "c\x85d.mp4", "e\x0cf.mp4", "g.mp4"]
    file = tmp_path / "list"
    for end in ("\n", "\r\n", "\r"):
        file.write_bytes(end.join(["path", *names, ""]).encode())
        assert [line["path"] for line in read_table(file)] == names
        assert [line.where for line in read_table(file)][-1].endswith("line 5")
        assert [text for _, text in read_lines(file)] == ["path", *names]
        assert [where for where, _ in read_lines(file)][-1].endswith("line 5")
