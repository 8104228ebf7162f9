"""Kill the pass with SIGKILL at random moments and inside writes, let several fill one store: always the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIGKILL = 9
SERVER = Path(__file__).with_name("pass_server.py")


@dataclass
class Server:
    """The process that forks the passes."""

    process: subprocess.Popen[str]
    clips: Path

    def run(self, out: Path, *children: dict[str, Any]) -> list[dict[str, Any]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"clips": str(self.clips), "out": str(out), "children": children or [{}]}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@dataclass
class Whole:
    """A store that nothing interrupted."""

    files: dict[str, bytes]
    seconds: float
    passed: dict[str, int]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "claims.lock"}


@pytest.fixture(scope="module")
def server(clip_folder: Path) -> Iterator[Server]:
    environ = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(SERVER)], stdin=pipe, stdout=pipe, text=True, env=environ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"]
        yield Server(process, clip_folder)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out = tmp_path_factory.mktemp("whole") / "store"
    server.run(out)  # the first pass reads code and clips from the disk, which is no measure for the moments
    (answer,) = server.run(out.with_name("again"))
    assert answer["code"] == 0
    assert content(out) == content(out.with_name("again"))
    return Whole(content(out), answer["seconds"], answer["passed"])


def kill_until(server: Server, whole: Whole, folder: Path, kills: int, draw: Any) -> None:
    """Kill passes until ``kills`` of them died; a store that comes out whole is compared, and a new one begins."""
    done, number = 0, 0
    for _ in range(4 * kills):
        (answer,) = server.run(folder / str(number), draw())
        assert answer["signal"] in (0, SIGKILL)
        assert answer["code"] <= 0, f"a continued pass failed after {done} kills"
        done += answer["signal"] == SIGKILL
        if answer["signal"] == 0:
            assert content(folder / str(number)) == whole.files
            number += 1
        if done == kills:
            break
    assert done == kills
    assert server.run(folder / str(number))[0]["code"] == 0
    assert content(folder / str(number)) == whole.files


def test_twenty_kills_at_random_moments_give_the_same_bytes(server: Server, whole: Whole, tmp_path: Path) -> None:
    assert len([name for name in whole.files if name.startswith("block-")]) == 6
    rng = np.random.default_rng(20)
    kill_until(server, whole, tmp_path, 20, lambda: {"delay_s": float(rng.uniform(0, whole.seconds))})


@pytest.mark.parametrize("at", ["opened", "half", "written", "replaced"])
def test_kills_inside_a_write(server: Server, whole: Whole, tmp_path: Path, at: str) -> None:
    rng = np.random.default_rng(5)
    kill_until(server, whole, tmp_path, 2, lambda: {"point": at, "call": int(rng.integers(1, whole.passed[at] + 1))})


def test_three_processes_share_the_blocks_and_take_over_from_one_that_is_killed(
    server: Server, whole: Whole, tmp_path: Path
) -> None:
    slow = {"pause_s": 0.3}
    # The third dies in its second block, with a claim on it.
    answers = server.run(tmp_path / "store", slow, slow, slow | {"point": "half", "call": 1})
    assert [answer["signal"] for answer in answers] == [0, 0, SIGKILL]
    assert content(tmp_path / "store") == whole.files
    written = [answer["passed"]["replaced"] for answer in answers[:2]]
    # Six blocks and the two files that begin a store: nothing was made twice, and both had their share.
    assert sum(written) in (7, 8)
    assert min(written) >= 1
