"""A pipe where a file should be is named at once: opening it would wait for ever for who writes into it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinelite.data.decode import ClipError, read_clip


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    def end(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name here")
@pytest.mark.parametrize(("name", "path"), [("a.mp4", "a.mp4"), ("a.clip", "a.clip"), ("00000.jpg", "%05d.jpg")])
def test_a_pipe_is_named(tmp_path: Path, name: str, path: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ClipError, match="pipe"):
        read_clip(str(tmp_path / path), 4)
