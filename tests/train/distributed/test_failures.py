"""Killed, stopped and continued with another number of processes: the same weights in the end."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launch import answers, finish, free_port, losses, together
from safetensors.torch import load_file

from kinelite.config import FeaturesConfig, KeepConfig, OptimConfig, TrainConfig, to_json
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


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_signal_to_one_stops_all_at_one_step_and_one_process_goes_on(
    whole: Path, make: Make, tmp_path: Path, strategy: str
) -> None:
    config = make(tmp_path / "run", strategy=strategy)
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
    jobs = [{"train": to_json(make(tmp_path / "run"))}]
    flags = meeting(f"127.0.0.1:{free_port()}")
    nodes = [together(tmp_path / f"node-{n}", jobs, *flags, "--local-addr", "127.0.0.1") for n in (0, 1)]
    check_machines(nodes, whole, tmp_path)


def test_two_machines_with_networks_of_their_own(whole: Path, make: Make, tmp_path: Path, network: list[str]) -> None:
    """Two network namespaces that reach each other over a virtual cable only."""
    jobs = [{"train": to_json(make(tmp_path / "run"))}]
    nodes = []
    for number, name in enumerate(network):
        inside = ("ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME=veth{number}")
        here = ("--rdzv-conf", f"is_host={1 - number}", "--local-addr", f"10.77.0.{number + 1}")
        flags = (*meeting("10.77.0.1:29400"), *here)
        nodes.append(together(tmp_path / f"node-{number}", jobs, *flags, prefix=inside))
    check_machines(nodes, whole, tmp_path)


@pytest.fixture
def network() -> Iterator[list[str]]:
    """Names of two namespaces, 10.77.0.1 and 10.77.0.2."""
    names = [f"kinelite-{secrets.token_hex(3)}" for _ in range(2)]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "veth0", "netns", names[0], "type", "veth", "peer", "name", "veth1", "netns", names[1])
        for number, name in enumerate(names):
            ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", f"veth{number}")
            ip("-n", name, "link", "set", f"veth{number}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', b'') or error}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def meeting(door: str) -> tuple[str, ...]:
    return ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", door)


def check_machines(nodes: list[Any], whole: Path, tmp_path: Path) -> None:
    said = [finish(node) for node in nodes]
    assert sum("Stage 1/1" in text for text in said) == 1, "one process of all speaks"
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.parametrize("recipe", ["conventional", "sfa"])
def test_a_model_that_is_shared_out_learns_the_same(make: Make, tmp_path: Path, recipe: str) -> None:
    """FSDP beside DDP, with all that touches weights and gradients; online features under sfa."""
    optim = OptimConfig(mixup=0.5, label_smoothing=0.1, ema=0.9, layer_decay=0.8, clip_norm=0.5)
    more = {"recipe": recipe, "optim": optim, "micro_batch": 2, "features": FeaturesConfig(mode="online")}
    keep = KeepConfig(strips=1, select="best")
    ways = ("ddp", "fsdp")
    finish(together(tmp_path, [{"train": to_json(make(tmp_path / w, strategy=w, keep=keep, **more))} for w in ways]))
    ddp, fsdp = (losses(tmp_path / way) for way in ways)
    assert len(ddp) > 6
    np.testing.assert_allclose(fsdp, ddp, rtol=0, atol=1e-5)
    one, two = (load_file(tmp_path / way / "model.safetensors") for way in ways)
    assert {name: t.shape for name, t in one.items()} == {name: t.shape for name, t in two.items()}
    assert all(np.allclose(one[name], two[name], atol=1e-3) for name in two)
