"""Killed, stopped and continued with another number of processes: the same weights in the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from launch import answers, finish, free_port, losses, together
from safetensors.torch import load_file

from kinelite.config import TrainConfig, to_json
from kinelite.train.run import train

pytestmark = pytest.mark.slow
Make = Callable[..., TrainConfig]
ELASTIC = ("--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
STATIC = ("--nproc-per-node", "2", "--max-restarts", "1")


@pytest.fixture(scope="module")
def whole(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole")
    finish(together(root, [{"train": to_json(make(root / "run"))}]))
    return root / "run"


@pytest.mark.parametrize(("rank", "flags"), [(1, ELASTIC), (0, STATIC)], ids=["elastic", "static"])
def test_a_killed_process_costs_nothing(
    whole: Path, make: Make, tmp_path: Path, rank: int, flags: tuple[str, ...]
) -> None:
    job = {"train": to_json(make(tmp_path / "run")), "signal": "SIGKILL", "rank": rank, "step": 5}
    said = finish(together(tmp_path, [job], *flags))
    assert "at step 4 (step-000000004.safetensors)" in said
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert losses(tmp_path / "run") == losses(whole)


def test_a_signal_to_one_stops_all_at_one_step_and_one_process_goes_on(whole: Path, make: Make, tmp_path: Path) -> None:
    config = make(tmp_path / "run")
    job = {"train": to_json(config), "signal": "SIGTERM", "rank": 1, "step": 3, "catch": True}
    finish(together(tmp_path, [job]))
    stopped = [answers(tmp_path, rank)[0] for rank in (0, 1)]
    assert all("step-000000004.safetensors" in text for text in stopped)
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "stopped"
    assert train(config).status == "ok"
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(whole), rtol=0, atol=1e-5)
    one, two = (load_file(out / "model.safetensors") for out in (tmp_path / "run", whole))
    assert all(np.allclose(one[name], two[name], atol=1e-3) for name in two)


def test_two_machines_over_loopback(whole: Path, make: Make, tmp_path: Path) -> None:
    door = f"127.0.0.1:{free_port()}"
    meet = ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", door)
    jobs = [{"train": to_json(make(tmp_path / "run"))}]
    nodes = [together(tmp_path / f"node-{number}", jobs, *meet, "--local-addr", "127.0.0.1") for number in (0, 1)]
    said = [finish(node) for node in nodes]
    assert sum("Stage 1/1" in text for text in said) == 1, "one process of all speaks"
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
