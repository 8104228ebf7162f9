"""--batch auto: what is chosen, proved, kept, and what happens when memory runs out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kinelite.config import NetConfig, OptimConfig
from kinelite.errors import RunError
from kinelite.plan import choose
from kinelite.records import read_jsonl
from kinelite.train import micro
from kinelite.train.chunks import bare
from kinelite.train.run import train
from kinelite.train.shortage import out_of_memory

DRAWS = {"optim": OptimConfig(mixup=0.4), "net": NetConfig(drop_path=0.2)}

MODELS = ["vivit_fe_nano", pytest.param("x3d_xs", marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path / "cache"))


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def chosen(out: Path) -> list[int]:
    return [row["clips"] for row in json.loads((out / micro.CHOSEN).read_text()).values()]


@pytest.fixture
def small_device(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """A device that runs out of memory above some clips in a training forward pass, from the nth one on."""

    accumulate = micro.model_input

    def limit(clips: int, error: Exception | None = None, from_call: int = 0) -> list[int]:
        seen: list[int] = []

        def model_input(forward: Any, piece: Any, *rest: Any) -> Any:
            seen.append(len(piece.frames))
            found = accumulate(forward, piece, *rest)
            if len(piece.frames) > clips and len(seen) > from_call:
                bare(forward)(found)  # batch norms have seen the clips by then
                raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return found

        monkeypatch.setattr(micro, "model_input", model_input)
        return seen

    return limit


def test_all_clips_at_a_time_where_there_is_room(quick: Any, tmp_path: Path, capsys: Any) -> None:
    train(quick(micro_batch="auto", **DRAWS))
    told = capsys.readouterr().err
    assert "4 of 4 clips at a time: planned to take" in told
    assert "proved by a step" in told
    train(quick(out=tmp_path / "plain", **DRAWS))
    # The proof leaves nothing behind: weights, moments and running statistics are those of a run without it.
    assert same(tmp_path / "run", tmp_path / "plain")


@pytest.mark.parametrize(
    ("name", "model"),
    [("adamw", "vivit_fe_nano"), ("sgd", "x3d_xs"), pytest.param("adamw", "x3d_xs", marks=pytest.mark.slow)],
)
def test_the_proof_leaves_nothing_behind(quick: Any, tmp_path: Path, model: str, name: Any) -> None:
    fields = {"model": model, "size": 64, "optim": OptimConfig(name=name, weight_decay=0.1, mixup=0.3)}
    train(quick(micro_batch="auto", **fields))
    train(quick(out=tmp_path / "plain", micro_batch=4, **fields))
    assert same(tmp_path / "run", tmp_path / "plain")


def test_fewer_clips_where_the_planner_sees_no_room(quick: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from kinelite.plan.predict import predict
    from kinelite.plan.step import Work

    config = quick(frames=12, size=160, **DRAWS).resolved()
    two, four = (predict(Work(config, config.stages[0], (2,), 4, m)).peak.total_bytes for m in (2, 4))
    assert two < 0.8 * four  # what is kept for the gradient is most of it
    free = (two + four) / 2 / choose.SHARE["cpu"]
    monkeypatch.setattr(choose, "free_memory_bytes", lambda device: int(free))
    record = train(quick(frames=12, size=160, micro_batch="auto", **DRAWS))
    assert chosen(tmp_path / "run") == [2]
    assert record.stages[0]["micro_batch"] == 2
    train(quick(out=tmp_path / "plain", frames=12, size=160, micro_batch=2, **DRAWS))
    assert same(tmp_path / "run", tmp_path / "plain")


def test_memory_that_runs_out_in_the_proof(quick: Any, tmp_path: Path, small_device: Any, capsys: Any) -> None:
    seen = small_device(1)
    train(quick(micro_batch="auto", **DRAWS))
    assert chosen(tmp_path / "run") == [1]
    assert seen[:3] == [4, 2, 1]
    assert "Out of memory in a step with 4 clips at a time: trying 2." in capsys.readouterr().err
    train(quick(out=tmp_path / "plain", micro_batch=1, **DRAWS))
    assert same(tmp_path / "run", tmp_path / "plain")


CPU_WORDS = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: 5 bytes."


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU_WORDS)])
def test_memory_that_runs_out_in_mid_training(
    quick: Any, tmp_path: Path, small_device: Any, capsys: Any, model: str, error: Exception
) -> None:
    # The proof is the first call; the first step of training is then out of memory, and has 2 clips at a time.
    fields = {"model": model, "size": 64} | DRAWS
    fields |= {} if model == "vivit_fe_nano" else {"net": NetConfig()}
    small_device(2, error, from_call=1)
    train(quick(micro_batch="auto", **fields))
    assert chosen(tmp_path / "run") == [2]
    assert "Out of memory at 4 clips at a time: on with 2" in capsys.readouterr().err
    small_device(99)
    train(quick(out=tmp_path / "plain", micro_batch=2, **fields))
    assert same(tmp_path / "run", tmp_path / "plain")


def test_one_clip_too_many_is_the_end(quick: Any, tmp_path: Path, small_device: Any) -> None:
    small_device(0)
    with pytest.raises(RunError, match="Out of memory in stage 'end-to-end' at 4 frames and 1 clips per pass"):
        train(quick(micro_batch="auto"))
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "oom"


def test_a_number_that_was_asked_for_is_not_changed(quick: Any, small_device: Any) -> None:
    seen = small_device(1)
    with pytest.raises(RunError, match=r"--micro-batch 1, or --batch auto"):
        train(quick(micro_batch=2))
    assert seen == [2]


def test_another_error_is_no_lack_of_memory(quick: Any, small_device: Any) -> None:
    seen = small_device(1, RuntimeError("shape '[4]' is invalid"))
    with pytest.raises(RuntimeError, match="is invalid"):
        train(quick(micro_batch="auto"))
    assert seen == [4]


def test_a_continued_run_goes_on_with_what_it_chose(quick: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    config = quick(epochs=2, micro_batch="auto", **DRAWS)
    monkeypatch.setattr(choose, "choose_clips", lambda *args, **more: (2, "as the test says"))
    stopped = quick(epochs=2, micro_batch="auto", max_hours=1e-9, **DRAWS)
    train(stopped)
    (tmp_path / "run" / "record.json").unlink()
    monkeypatch.setattr(choose, "choose_clips", lambda *args, **more: (4, "elsewhere"))
    rows = len(read_jsonl(tmp_path / "run" / "metrics.jsonl")[0])
    train(config)
    assert rows
    assert chosen(tmp_path / "run") == [2]


def test_a_model_that_cannot_be_planned_is_tried(quick: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no trace of this")

    monkeypatch.setattr(choose, "choose_clips", broken)
    train(quick(micro_batch="auto"))
    assert "not planned (NotImplementedError: no trace of this), but tried, proved by a step" in capsys.readouterr().err


def test_stored_features_and_two_stages(quick: Any, tmp_path: Path, small_device: Any) -> None:
    from kinelite.config import FeaturesConfig

    small_device(3)
    record = train(quick("sfa", micro_batch="auto", features=FeaturesConfig(mode="stored", views=2)))
    assert [stage["micro_batch"] for stage in record.stages] == [2, 2]
    train(quick("sfa", out=tmp_path / "plain", micro_batch=2, features=FeaturesConfig(mode="stored", views=2)))
    assert same(tmp_path / "run", tmp_path / "plain")


def test_what_lack_of_memory_looks_like() -> None:
    assert out_of_memory(torch.OutOfMemoryError("x"))
    assert out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))
    assert isinstance(nn.BatchNorm3d(1), nn.modules.batchnorm._BatchNorm)
