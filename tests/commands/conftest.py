"""The command line in this process, and one finished run that the verbs can use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kinelite.cli import main


@dataclass
class Done:
    """What a call of the command line left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of standard output."""
        return json.loads(self.out.splitlines()[-1])

    def failed(self, code: int, *parts: str) -> None:
        """A clear sentence on standard error with every one of ``parts``, the exit code, and no traceback."""
        text = " ".join(self.err.split())
        assert self.code == code, text
        assert "Traceback" not in self.err
        assert text
        for part in parts:
            assert part in text


Kinelite = Callable[..., Done]


def call(capsys: Any, *args: object) -> Done:
    capsys.readouterr()
    try:
        code = main([str(arg) for arg in args])
    except SystemExit as stop:  # tyro ends --help and misspelt flags like this
        code = stop.code if isinstance(stop.code, int) else 1
    read = capsys.readouterr()
    return Done(code, read.out, read.err)


@pytest.fixture
def kinelite(capsys: pytest.CaptureFixture[str]) -> Kinelite:
    """``kinelite("train", "sfa", ...)``."""
    return lambda *args: call(capsys, *args)


SMALL = ("--model", "vivit_fe_nano", "--size", "32", "--batch", "4", "--device", "cpu", "--workers", "0")


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Flags of a run of seconds."""
    return (*SMALL, "--frames", "4", "--epochs", "1", "--keep.strips", "0")


@pytest.fixture(scope="session")
def run_folder(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on two classes, 8 frames of 32 pixels. Do not write into it."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    data = ("--data", f"folder:{clip_folder}", "--frames", "8", "--epochs", "1", "--out", str(out))
    assert main(["train", "conventional", *SMALL, *data]) == 0
    return out


@pytest.fixture
def copied(clip_folder: Path, tmp_path: Path) -> Path:
    """The clips, to be spoilt."""
    return Path(shutil.copytree(clip_folder, tmp_path / "clips"))
