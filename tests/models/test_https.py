"""Files from https addresses: fetched once, resumed, checked, refused; against a server on this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from file_server import FileServer

from kinelite.errors import SetupError, UsageError
from kinelite.models.checkpoints import https
from kinelite.models.checkpoints.https import fetch, place_of

CONTENT = os.urandom(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
PATH = "/models/x3d_xs-12345678.pyth"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(https, "RETRY_S", 0.01)


@pytest.fixture
def server():
    with FileServer({PATH: CONTENT}) as server:
        yield server


def left(file: Path) -> set[str]:
    return {p.name for p in file.parent.iterdir()}


def test_a_file_is_fetched_once_and_then_needs_no_server(server: FileServer) -> None:
    file = fetch(server.address + PATH, SHA[:8])
    assert file.read_bytes() == CONTENT
    assert file.name == "x3d_xs-12345678.pyth"
    assert not any(name.endswith((".part", ".part.json")) for name in left(file))
    assert fetch(server.address + PATH, SHA) == file
    assert len(server.asked) == 1


def test_offline_the_cache_serves_and_else_the_place_is_named(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fetch(server.address + PATH)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(server.address + PATH) == file
    other = server.address + "/models/other.pth"
    with pytest.raises(SetupError) as error:
        fetch(other)
    for part in (other, "HF_HUB_OFFLINE is set", "--pretrained other.pth", str(place_of(other))):
        assert part in str(error.value)
    assert "MODEL@other.pth" in str(error.value)
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(SetupError, match="copy in the cache is damaged, and HF_HUB_OFFLINE is set"):
        fetch(server.address + PATH)
    assert len(server.asked) == 1


def test_a_file_put_into_the_named_place_is_taken(server: FileServer) -> None:
    place = place_of(server.address + PATH)
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert fetch(server.address + PATH, SHA[:8]) == place
    assert server.asked == []


def test_a_transfer_that_breaks_off_goes_on_where_it_ended(server: FileServer) -> None:
    server.cuts = [100_000, 50_000]
    assert fetch(server.address + PATH, SHA).read_bytes() == CONTENT
    assert [r for *_, r in server.bodies()] == ["", "bytes=100000-", "bytes=150000-"]


def test_a_transfer_of_an_earlier_process_goes_on(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "ATTEMPTS", 1)
    server.cuts = [100_000]
    with pytest.raises(SetupError, match="broke off after 100000 of 300000 bytes"):
        fetch(server.address + PATH)
    assert not place_of(server.address + PATH).exists()
    assert fetch(server.address + PATH, SHA).read_bytes() == CONTENT
    assert server.bodies()[-1][2] == "bytes=100000-"


@pytest.mark.parametrize("how", ["other file", "no ranges", "weak tag"])
def test_what_cannot_be_continued_starts_anew(server: FileServer, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(https, "ATTEMPTS", 1)
    server.cuts = [100_000]
    server.headers = {"ETag": 'W/"1"'} if how == "weak tag" else {}
    with pytest.raises(SetupError, match="broke off"):
        fetch(server.address + PATH)
    new = os.urandom(300_000) if how == "other file" else CONTENT
    server.files[PATH], server.ranges = new, how != "no ranges"
    assert fetch(server.address + PATH).read_bytes() == new


def test_a_part_that_is_longer_than_the_file_starts_anew(server: FileServer) -> None:
    file = place_of(server.address + PATH)
    file.parent.mkdir(parents=True)
    file.with_name(f".{file.name}.part").write_bytes(bytes(len(CONTENT)))
    file.with_name(f".{file.name}.part.json").write_text(f'{{"version": "\\"{SHA}\\""}}')
    assert fetch(server.address + PATH, SHA).read_bytes() == CONTENT
    assert [r for *_, r in server.bodies()] == ["bytes=300000-", ""]


def test_another_checksum_is_thrown_away(server: FileServer) -> None:
    server.spoilt = True
    with pytest.raises(SetupError, match=r"checksum .*where " + SHA[:8] + " is published"):
        fetch(server.address + PATH, SHA[:8])
    assert left(place_of(server.address + PATH)) <= {".x3d_xs-12345678.pyth.lock"}


def test_a_copy_that_was_damaged_later_is_fetched_again(server: FileServer) -> None:
    file = fetch(server.address + PATH)
    file.write_bytes(CONTENT[:-1])
    assert fetch(server.address + PATH).read_bytes() == CONTENT
    assert len(server.bodies()) == 2


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (404, UsageError, "There is no file at"),
        (401, SetupError, "takes a login"),
        (403, SetupError, "takes a login"),
        (500, SetupError, "the server answered 500"),
    ],
)
def test_answers_that_are_no_file(server: FileServer, code: int, kind: type[Exception], words: str) -> None:
    server.status[PATH] = code
    with pytest.raises(kind, match=words) as error:
        fetch(server.address + PATH)
    assert server.address + PATH in str(error.value)
    # What may pass is tried again; what the server decided is not.
    assert len(server.asked) == (https.ATTEMPTS if code == 500 else 1)


def test_a_web_page_is_not_kept(server: FileServer) -> None:
    server.headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(SetupError, match="a web page instead of a file"):
        fetch(server.address + PATH)
    assert not place_of(server.address + PATH).exists()


def test_no_server() -> None:
    with FileServer() as gone:
        address = gone.address
    with pytest.raises(SetupError) as error:
        fetch(f"{address}/w.pth")
    assert f"{address}/w.pth" in str(error.value)
    assert "--pretrained w.pth; to predict and eval MODEL@w.pth), or put it at" in str(error.value)


@pytest.mark.parametrize("address", ["http://example.org/w.pth", "https://example.org", "https:///w.pth"])
def test_addresses_that_are_refused_unasked(address: str) -> None:
    with pytest.raises(UsageError, match="https"):
        fetch(address)


def test_names_stay_within_the_cache() -> None:
    place = place_of("https://example.org/a/%2e%2e/..%2F..%2Fetc/w.pth?token=1")
    root = place_of("https://example.org/w.pth").parent
    assert root in place.parents
    assert ".." not in place.parts
    assert place_of("https://example.org/w.pth?a") != place_of("https://example.org/w.pth?b")


def test_a_folder_that_cannot_be_written(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path / "file"))
    with pytest.raises(SetupError):
        fetch(server.address + PATH)


def test_a_full_disk_is_not_taken_for_a_broken_transfer(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(https.os, "fsync", full)
    with pytest.raises(SetupError, match="the disk is full"):
        fetch(server.address + PATH)
    assert len(server.asked) == 1


def test_two_processes_fetch_once(server: FileServer) -> None:
    server.wait_s = 1.0
    code = f"from kinelite.models.checkpoints.https import fetch; print(fetch({server.address + PATH!r}, {SHA!r}))"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert paths == {str(place_of(server.address + PATH))}
    assert len(server.bodies()) == 1
