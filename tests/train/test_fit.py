"""What the loop does, on runs of seconds."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kinelite.config import KeepConfig, MemoryConfig, NetConfig, OptimConfig, Stage
from kinelite.errors import RunError, UsageError
from kinelite.records import TrainRecord, from_dict, read_jsonl
from kinelite.train import fit as fit_module
from kinelite.train import micro as micro_module
from kinelite.train.job import Interrupted, Job
from kinelite.train.run import train

GOLDEN = Path(__file__).parents[1] / "reference" / "losses.json"
SGD = OptimConfig(name="sgd", lr=0.05, warmup_epochs=0.0, schedule="constant", clip_norm=0.0)


def events(out: Path, event: str) -> list[dict[str, Any]]:
    return [row for row in read_jsonl(out / "metrics.jsonl")[0] if row["event"] == event]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def record(out: Path) -> TrainRecord:
    return from_dict(TrainRecord, json.loads((out / "record.json").read_text()))


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


def test_losses_of_a_seeded_run_are_known(quick: Any) -> None:
    """Another value means that training changed. If that was meant, put the printed list into reference/losses.json."""
    stages = (Stage("short", frames=4), Stage("long", frames=8, freeze=("encoder.*",), adapter=True))
    # SGD, because the first steps of AdamW are signs, which rounding can turn.
    optim = replace(SGD, lr=0.005, mixup=0.4, label_smoothing=0.1)
    config = quick("sfa", epochs=2, stages=stages, optim=optim, net=NetConfig(drop_path=0.2))
    train(config)
    found = [row["loss"] for row in events(config.out, "step")]
    assert len(found) == 2 * 2 * 3
    print(json.dumps([round(loss, 6) for loss in found]))
    assert found == pytest.approx(json.loads(GOLDEN.read_text())["sfa"], abs=1e-4)


def test_micro_batches_do_not_change_what_is_learnt(quick: Any, tmp_path: Path) -> None:
    ends = []
    for micro in (4, 2, 1):
        config = quick(epochs=2, micro_batch=micro, out=tmp_path / str(micro), optim=replace(SGD, mixup=0.4))
        train(config)
        ends.append(weights(config.out))
    assert distance(ends[0], ends[1]) < 1e-5
    assert distance(ends[0], ends[2]) < 1e-5
    other = quick(epochs=2, batch=2, out=tmp_path / "other", optim=replace(SGD, mixup=0.4))
    train(other)
    assert distance(ends[0], weights(other.out)) > 1e-3


def test_only_the_frozen_part_stays_and_it_stays_bit_for_bit(quick: Any) -> None:
    stages = (Stage("short", frames=4, epochs=1), Stage("long", epochs=1, freeze=("encoder.*",), adapter=True))
    config = quick("sfa", frames=8, stages=stages, optim=OptimConfig(weight_decay=0.1), keep=KeepConfig(last=9))
    train(config)
    between = load_file(config.out / "checkpoints" / "step-000000003.safetensors")
    end = weights(config.out)
    frozen = [name for name in end if name.startswith("encoder.")]
    assert frozen
    assert all(torch.equal(end[name], between[f"model.{name}"]) for name in frozen)
    moved = [name for name in end if name.startswith(("temporal.blocks", "head."))]
    assert all(not torch.equal(end[name], between[f"model.{name}"]) for name in moved)
    slots = load_file(sorted((config.out / "checkpoints").glob("*"))[-1])
    assert not [name for name in slots if name.startswith("optim.")], "between stages there is no optimiser state"


@pytest.mark.parametrize("recipe", ["conventional", "sfa", "frozen", "frozen_plain"])
def test_every_recipe_runs_to_a_whole_record(quick: Any, recipe: str) -> None:
    config = quick(recipe, frames=12, keep=KeepConfig(strips=1, eval_epochs=0))
    found = train(config)
    assert found.status == "ok"
    assert found.top1 is not None
    assert found.recipe == recipe
    assert [s["name"] for s in found.stages] == [s.name for s in config.stages]
    assert found.steps == 3 * len(config.stages)
    assert [s["frames"] for s in found.stages] == ([8, 12] if recipe == "sfa" else [12])
    assert found.params == sum(t.numel() for t in weights(config.out).values())
    assert (found.trained_params == found.params) == (recipe == "conventional")
    assert record(config.out) == found


def test_a_finished_run_is_not_run_again(quick: Any) -> None:
    config = quick()
    first = train(config)
    before = {p: p.stat().st_mtime_ns for p in config.out.rglob("*") if p.is_file()}
    assert train(config) == first
    assert before == {p: p.stat().st_mtime_ns for p in config.out.rglob("*") if p.is_file()}


def test_a_loss_that_is_not_finite_stops_with_step_clips_and_checkpoint(
    quick: Any, monkeypatch: pytest.MonkeyPatch, clip_folder: Path
) -> None:
    real, seen = micro_module.piece_loss, []

    def broken(*args: Any) -> torch.Tensor:
        seen.append(0)
        return real(*args) * (math.nan if len(seen) == 5 else 1.0)

    monkeypatch.setattr(micro_module, "piece_loss", broken)
    config = quick(epochs=2, keep=KeepConfig(every_steps=1))
    with pytest.raises(RunError, match=r"loss is nan at step 5 \(stage 1, epoch 2\)") as caught:
        train(config)
    assert str(config.out / "checkpoints" / "step-000000004.safetensors") in str(caught.value)
    assert str(clip_folder) in str(caught.value)
    assert "--optim.lr" in str(caught.value)
    assert record(config.out).status == "failed"
    assert not (config.out / "model.safetensors").exists()


def test_a_learning_rate_far_too_high_stops_the_run(quick: Any) -> None:
    config = quick(epochs=3, optim=replace(SGD, lr=1e30))
    with pytest.raises(RunError, match="too high"):
        train(config)


def test_weights_do_not_move_in_the_step_that_is_not_finite(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = quick(keep=KeepConfig(every_steps=1))
    real, states = fit_module.train_step, []

    def watching(job: Job, part: Any, batch: Any) -> tuple[float, float]:
        states.append({k: v.clone() for k, v in part.state().items()})
        try:
            return real(job, part, batch)
        except RunError:
            states.append(part.state())
            raise

    monkeypatch.setattr(fit_module, "train_step", watching)
    monkeypatch.setattr(micro_module, "piece_loss", lambda logits, *_: logits.sum() * math.inf)
    with pytest.raises(RunError):
        train(config)
    assert distance(states[0], states[1]) == 0


def test_out_of_memory_is_a_record_with_advice(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(micro_module, "piece_loss", full)
    config = quick("sfa", frames=8)
    with pytest.raises(RunError, match="--micro-batch 2") as caught:
        train(config)
    assert "'short' at 8 frames and 4 clips" in str(caught.value)
    assert record(config.out).status == "oom"


def test_memory_of_the_machine_that_ends_is_out_of_memory_too(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(micro_module, "piece_loss", full)
    config = quick()
    with pytest.raises(RunError, match="--micro-batch 2"):
        train(config)
    assert record(config.out).status == "oom"


def test_another_error_of_the_program_is_not_hidden(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any) -> torch.Tensor:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(micro_module, "piece_loss", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(quick())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_a_checkpoint_and_the_run_continues_to_the_same_weights(
    quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    whole = quick(epochs=2, out=tmp_path / "whole")
    train(whole)
    real, seen = fit_module.train_step, []

    def interrupted(*args: Any) -> Any:
        seen.append(0)
        if len(seen) == 2:
            os.kill(os.getpid(), number)
        return real(*args)

    config = quick(epochs=2)
    handler = signal.getsignal(number)
    monkeypatch.setattr(fit_module, "train_step", interrupted)
    with pytest.raises(Interrupted, match=number.name) as caught:
        train(config, command="kinelite train conventional --out here")
    assert "Continue with:\n  kinelite train conventional --out here" in str(caught.value)
    assert (config.out / "checkpoints" / "step-000000002.safetensors").exists()
    assert record(config.out).status == "stopped"
    assert signal.getsignal(number) is handler
    monkeypatch.setattr(fit_module, "train_step", real)
    assert train(config).status == "ok"
    assert distance(weights(config.out), weights(whole.out)) == 0
    assert [r["step"] for r in events(config.out, "step")] == list(range(1, 7))


def test_max_hours_stops_and_evaluates_what_was_learnt(quick: Any) -> None:
    config = quick("sfa", epochs=50, frames=8, max_hours=1e-6)
    found = train(config)
    assert found.status == "ok"
    assert found.top1 is not None
    assert "--max-hours" in found.message
    assert found.steps == 1
    assert [s["name"] for s in found.stages] == ["short"]
    assert (config.out / "model.safetensors").exists()


def test_early_stopping_ends_the_stage_after_as_many_evaluations_without_progress(quick: Any) -> None:
    # Nothing moves, so the first evaluation is the best one.
    still = replace(SGD, lr=1e-12)
    config = quick("sfa", epochs=9, optim=still, keep=KeepConfig(early_stop=1, strips=0))
    found = train(config)
    assert [stage["epochs"] for stage in found.stages] == [2, 2]


def scores(monkeypatch: pytest.MonkeyPatch, top1: list[float]) -> None:
    """Evaluations during training give ``top1`` in turn."""
    left = iter(top1)
    monkeypatch.setattr("kinelite.train.job.numbers", lambda *_: {"top1": next(left), "top5": None, "loss": 1.0})


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_best_weights_are_those_that_were_evaluated(
    quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    optim = replace(SGD, ema=ema)
    to_best = quick(epochs=2, optim=optim, out=tmp_path / "two")
    train(to_best)
    scores(monkeypatch, [0.1, 0.9, 0.5, 0.9])
    config = quick(epochs=4, optim=optim, keep=KeepConfig(select="best", strips=0))
    found = train(config)
    assert found.stages[0]["top1"] == 0.9
    assert distance(weights(config.out), weights(to_best.out)) == 0


def test_the_last_weights_are_kept_unless_asked_otherwise(
    quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = quick(epochs=3, optim=SGD, out=tmp_path / "plain")
    train(plain)
    scores(monkeypatch, [0.9, 0.5, 0.1])
    config = quick(epochs=3, optim=SGD)
    train(config)
    assert distance(weights(config.out), weights(plain.out)) == 0


def test_averaged_weights_are_what_the_run_ends_with(quick: Any, tmp_path: Path) -> None:
    config = quick(optim=replace(SGD, ema=0.5), keep=KeepConfig(every_steps=1, last=9))
    train(config)
    states = [load_file(config.out / "checkpoints" / f"step-{n:09d}.safetensors") for n in (1, 2)]
    average = {k.removeprefix("ema."): v for k, v in states[1].items() if k.startswith("ema.")}
    plain = quick(optim=SGD, out=tmp_path / "plain")
    train(plain)
    last = weights(plain.out)
    expected = {name: 0.5 * average[name] + 0.5 * last[name] for name in average}
    found = weights(config.out)
    assert distance({name: found[name] for name in average}, expected) < 1e-6
    assert distance({name: last[name] for name in average}, expected) > 1e-4


def test_plateau_lowers_the_rate_of_the_next_epoch(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, [0.5, 0.4, 0.3, 0.3])
    optim = OptimConfig(name="sgd", lr=0.1, schedule="plateau", plateau_patience=0, warmup_epochs=0.0)
    config = quick(epochs=4, optim=optim)
    train(config)
    rates = [row["lr"] for row in events(config.out, "step")][::3]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_a_new_run_starts_from_a_finished_one_with_other_classes(quick: Any, tmp_path: Path, clip_folder: Path) -> None:
    first = quick(out=tmp_path / "first")
    train(first)
    third = tmp_path / "three"
    for name in ("moves_right", "moves_down"):
        (third / name).mkdir(parents=True)
        for clip in (clip_folder / name).iterdir():
            (third / name / clip.name).symlink_to(clip)
    (third / "other").mkdir()
    for clip in (clip_folder / "moves_down").iterdir():
        (third / "other" / clip.name).symlink_to(clip)
    config = quick(data=f"folder:{third}", init=str(first.out), optim=replace(SGD, lr=1e-12), frames=4)
    train(config)
    before, after = weights(first.out), weights(config.out)
    body = [name for name in before if not name.startswith("head.")]
    assert distance({n: before[n] for n in body}, {n: after[n] for n in body}) < 1e-6
    assert after["head.label.weight"].shape[0] == 3


def test_a_later_stage_keeps_the_adapter_of_an_earlier_one_also_when_continued(quick: Any, tmp_path: Path) -> None:
    stages = (
        Stage("a", epochs=1),
        Stage("b", epochs=1, adapter=True, freeze=("encoder.*",)),
        Stage("c", epochs=1, lr=1e-4),
    )
    whole = quick("sfa", stages=stages, out=tmp_path / "whole", keep=KeepConfig(every_steps=1))
    train(whole)
    assert any(name.startswith("adapter.") for name in weights(whole.out))
    config = quick("sfa", stages=stages, keep=KeepConfig(every_steps=1))
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Interrupted):
            train(config)
    train(config)
    assert distance(weights(config.out), weights(whole.out)) == 0


def stop_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    real = Job.stop_if_asked

    def stop(job: Job, part: Any) -> None:
        job.asked_to_stop = "SIGINT" if job.progress.step == steps else ""
        real(job, part)

    patch.setattr(Job, "stop_if_asked", stop)


def test_sgd_continues_to_the_same_weights(quick: Any, tmp_path: Path) -> None:
    net = NetConfig(drop_path=0.3, dropout=0.3)
    whole = quick(epochs=2, optim=SGD, net=net, out=tmp_path / "whole")
    train(whole)
    config = quick(epochs=2, optim=SGD, net=net)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Interrupted):
            train(config)
    train(config)
    assert distance(weights(config.out), weights(whole.out)) == 0


def test_a_freeze_pattern_without_a_match_is_refused_with_the_nearest(quick: Any) -> None:
    with pytest.raises(UsageError, match=r"encodr.*Nearest: encoder"):
        train(quick("frozen", stages=(Stage("x", freeze=("encodr.*",)),)))


def test_a_run_that_ran_out_of_memory_continues_with_recompute_to_the_same_weights(quick: Any, tmp_path: Path) -> None:
    net = NetConfig(drop_path=0.3, dropout=0.3)
    whole = quick(epochs=2, net=net, out=tmp_path / "whole")
    train(whole)
    config = quick(epochs=2, net=net)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Interrupted):
            train(config)
    train(replace(config, memory=MemoryConfig(recompute=True)))
    assert distance(weights(config.out), weights(whole.out)) == 0
