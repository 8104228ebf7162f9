"""Kill training with SIGKILL at random moments, also inside the writing of files, resume, compare bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinelite import recipes
from kinelite.config import KeepConfig, MemoryConfig, NetConfig, OptimConfig, Stage, TrainConfig, to_json
from kinelite.records import read_jsonl

SIGKILL = 9
SERVER = Path(__file__).with_name("kill_server.py")
# Times and what depends on them are the machine's; everything else of a row must be the same.
TIMES = {"train_s", "wait_s"}


@dataclass
class Server:
    """The process that forks the trainings."""

    process: subprocess.Popen[str]

    def run(self, config: TrainConfig, **kill: Any) -> dict[str, Any]:
        """Train (or continue) ``config``; see kill_server.py for ``kill`` and the answer."""
        out = Path(config.out)
        file = out.with_suffix(".config.json")
        file.write_text(json.dumps(to_json(config)))
        return self.ask({"config": str(file)} | kill)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    environ = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(SERVER)], stdin=pipe, stdout=pipe, text=True, env=environ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"]
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()


@dataclass
class Whole:
    """A run that nothing interrupted."""

    config: TrainConfig
    weights: bytes
    rows: list[dict[str, Any]]
    seconds: float
    passed: dict[str, int]


@pytest.fixture(scope="module")
def whole(server: Server, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    config = everything_on(clip_folder, tmp_path_factory.mktemp("whole") / "run")
    answer = server.run(config)
    assert answer["code"] == 0
    out = Path(config.out)
    return Whole(config, weights(out), rows(out), answer["seconds"], answer["passed"])


def everything_on(clips: Path, out: Path) -> TrainConfig:
    """Two stages with all that has a state or draws: mixup, stochastic depth, patches left out, averages, plateau,
    early stopping; the first stage at another size, blocks recomputed."""
    stages = (
        Stage("short", frames=4, epochs=2, size=48, drop_tokens=0.3),
        Stage("long", frames=8, epochs=4, freeze=("encoder.*",), adapter=True),
    )
    return recipes.sfa(
        data=f"folder:{clips}",
        model="vivit_fe_nano",
        out=out,
        size=32,
        batch=4,
        micro_batch=2,
        device="cpu",
        workers=0,
        stages=stages,
        net=NetConfig(drop_path=0.2, dropout=0.1),
        memory=MemoryConfig(recompute=True),
        optim=OptimConfig(mixup=0.4, ema=0.8, schedule="plateau", plateau_patience=0, warmup_epochs=0.5),
        keep=KeepConfig(every_steps=1, last=2, early_stop=2, strips=1),
    )


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


def rows(out: Path) -> list[dict[str, Any]]:
    found, problems = read_jsonl(out / "metrics.jsonl")
    assert not problems
    return [{k: v for k, v in row.items() if k not in TIMES} for row in found]


def same(out: Path, whole: Whole) -> None:
    assert rows(out) == whole.rows
    assert weights(out) == whole.weights
    assert json.loads((out / "record.json").read_text())["status"] == "ok"
    assert [p.name for p in out.rglob("*.tmp")] == []


def kill_until(server: Server, whole: Whole, folder: Path, kills: int, rng: np.random.Generator, draw: Any) -> None:
    """Kill runs until ``kills`` of them died of it; one that comes through is compared, and a new one begins."""
    done, number = 0, 0
    config = replace(whole.config, out=folder / "run-0")
    for _ in range(4 * kills):
        answer = server.run(config, **draw(rng))
        done += answer["signal"] == SIGKILL
        assert answer["signal"] in (0, SIGKILL)
        assert answer["code"] <= 0, f"a continued run failed after {done} kills"
        if answer["signal"] == 0:
            same(Path(config.out), whole)
            number += 1
            config = replace(whole.config, out=folder / f"run-{number}")
        if done == kills:
            break
    assert done == kills
    assert server.run(config)["code"] == 0
    same(Path(config.out), whole)


def moments(whole: Whole) -> Any:
    return lambda rng: {"delay_s": float(rng.uniform(0.0, whole.seconds))}


def points(whole: Whole, at: str) -> Any:
    return lambda rng: {"point": at, "call": int(rng.integers(1, whole.passed[at] + 1))}


def test_two_whole_runs_are_equal(server: Server, whole: Whole, tmp_path: Path) -> None:
    config = replace(whole.config, out=tmp_path / "again")
    assert server.run(config)["code"] == 0
    same(tmp_path / "again", whole)
    steps = [row["step"] for row in whole.rows if row["event"] == "step"]
    assert steps == list(range(1, len(steps) + 1))


def test_twenty_kills_at_random_moments(server: Server, whole: Whole, tmp_path: Path) -> None:
    kill_until(server, whole, tmp_path, 20, np.random.default_rng(20), moments(whole))


@pytest.mark.parametrize("at", ["opened", "half", "written", "replaced"])
def test_kills_inside_a_write(server: Server, whole: Whole, tmp_path: Path, at: str) -> None:
    kill_until(server, whole, tmp_path, 2, np.random.default_rng(5), points(whole, at))
