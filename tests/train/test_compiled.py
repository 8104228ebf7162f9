"""torch.compile in a run: the same losses and names of weights; a machine without compiler trains all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kinelite.records import read_jsonl
from kinelite.train import compiled as room
from kinelite.train.compiled import compiled

CPU = torch.device("cpu")
RUN = """
import sys
from kinelite import recipes
from kinelite.config import MemoryConfig
from kinelite.train import compiled
import kinelite as kl
out, backend, recompute, compile = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
graphs = []
def counted(graph, example):
    graphs.append(graph)
    return graph.forward
compiled.BACKEND = counted if backend == "counted" else backend
memory = MemoryConfig(recompute=bool(recompute), compile=bool(compile))
small = dict(data="motion:80", model="vivit_fe_nano", frames=8, size=32, batch=16, workers=0, device="cpu")
kl.train(recipes.sfa(**small, epochs=1, out=out, memory=memory))
print("graphs:", len(graphs))
"""


def losses(out: Path, backend: str, recompute: bool, compile: bool) -> tuple[list[float], int]:
    """Losses of a run and the graphs that were compiled; apart from pytest, whose checks of shapes stop a compiler."""
    flags = [str(int(recompute)), str(int(compile))]
    command = [sys.executable, "-W", "error::UserWarning:kinelite", "-c", RUN, str(out), backend, *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows, _ = read_jsonl(out / "metrics.jsonl")
    return [row["loss"] for row in rows if row["event"] == "step"], int(done.stdout.split("graphs:")[1])


@pytest.mark.slow  # half a minute of compiling
def test_a_compiled_run_learns_the_same(tmp_path: Path) -> None:
    """Both stages, with blocks that are recomputed and the frozen encoder in chunks."""
    expected, none = losses(tmp_path / "plain", "counted", False, False)
    found, graphs = losses(tmp_path / "compiled", "counted", True, True)
    assert none == 0
    assert graphs > 2
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=1e-5)
    names = [set(load_file(tmp_path / run / "model.safetensors")) for run in ("plain", "compiled")]
    assert names[0] == names[1]


def test_without_a_compiler_the_model_comes_back_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(graph: Any, _: Any) -> Any:
        raise RuntimeError("no C++ compiler found\nand more")

    monkeypatch.setattr(room, "BACKEND", backend)
    model = nn.Linear(2, 2)
    same, told = compiled(model, CPU)
    assert same is model
    assert told.startswith("not compiled")
    assert "no C++ compiler found" in told
    assert "\n" not in told


@pytest.mark.slow
def test_with_the_compiler_itself(tmp_path: Path) -> None:
    _, told = compiled(nn.Linear(2, 2), CPU)
    if told.startswith("not compiled"):
        pytest.skip(told)
    expected, _ = losses(tmp_path / "plain", "inductor", False, False)
    found, _ = losses(tmp_path / "compiled", "inductor", False, True)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-4, rtol=1e-4)
