"""Two processes learn what one learns from the same global batch, and score every clip once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launch import answers, finish, losses, together

from kinelite.cli import main
from kinelite.config import FeaturesConfig, NetConfig, OptimConfig, TrainConfig, to_json
from kinelite.data.sets import load_set
from kinelite.train.assess import assess
from kinelite.train.run import train

MIXED = OptimConfig(mixup=0.5, cutmix=0.5, label_smoothing=0.1, ema=0.9, layer_decay=0.8, clip_norm=0.5)
# Dropout and stochastic depth are drawn by each process for its own clips, so here they are off.
RUNS: dict[str, dict[str, Any]] = {
    "plain": {"workers": 1},
    "mixed": {"optim": MIXED, "micro_batch": 2},
    "sfa": {"recipe": "sfa", "features": FeaturesConfig(mode="stored", views=2), "optim": OptimConfig(mixup=0.4)},
    "norms": {"model": "x3d_xs", "epochs": 1, "net": NetConfig(dropout=0.0)},
}


SHARED = (
    ["features", "make", "RUN/plain", "--out", "OUT/stored", "--views", "2", "--max-skipped", "0.5"],
    ["data", "prepare", "folder:CLIPS", "--out", "OUT/prepared", "--workers", "0", "--max-skipped", "0.5"],
)


def at(verb: list[str], out: Path, clips: Path, run: Path | None = None) -> list[str]:
    """A command line with its folders filled in."""
    folders = {"OUT": str(out), "RUN": str(run or out), "CLIPS": str(clips)}
    for name, folder in folders.items():
        verb = [word.replace(name, folder) for word in verb]
    return verb


@dataclass
class Pair:
    """Runs of one process and of two."""

    one: Path
    two: Path


@pytest.fixture(scope="module")
def pair(make: Callable[..., TrainConfig], some_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    root = tmp_path_factory.mktemp("pair")
    found = Pair(root / "one", root / "two")
    jobs: list[dict[str, Any]] = [{"train": to_json(make(found.two / name, **run))} for name, run in RUNS.items()]
    jobs.append({"eval": str(found.two / "plain"), "on": "all", "batch": 5, "out": str(found.two / "eval")})
    jobs += [{"verb": at(verb, found.two, some_clips)} for verb in SHARED]
    process = together(root / "jobs", jobs)
    for name, run in RUNS.items():
        assert train(make(found.one / name, **run)).status == "ok"
    said = finish(process)
    assert said.count("Stage 1/1 'end-to-end'") == 3, "one process speaks"
    # Source and clips are the same for both, and so must be what is made of them.
    for verb in SHARED:
        assert main(at(verb, found.one, some_clips, run=found.two)) == 0
    assert answers(root / "jobs") == answers(root / "jobs", rank=1) == ["ok"] * len(RUNS) + [12, 0, 0]
    return found


@pytest.mark.parametrize("name", RUNS)
def test_the_loss_curve_is_that_of_one_process(pair: Pair, name: str) -> None:
    one, two = losses(pair.one / name), losses(pair.two / name)
    assert len(one) == len(two) > 3
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_all_clips_of_the_evaluation_are_scored_once(pair: Pair, name: str) -> None:
    one, two = (json.loads((root / name / "eval.json").read_text()) for root in (pair.one, pair.two))
    for field in ("top1", "clips", "scored", "confusion", "skipped"):
        assert two[field] == one[field], field


def test_an_evaluation_of_uneven_shares_is_exact(pair: Pair) -> None:
    """13 clips, one of them broken, in batches of 5: one process scores 5 and 3, the other 5."""
    one = assess(pair.two / "plain", on="all", batch=5, workers=0, device="cpu", out=pair.one / "eval")
    two = json.loads((pair.two / "eval" / "eval.json").read_text())
    assert two["clips"] == "12 of 13"
    for field in ("top1", "loss", "ece", "per_class", "confusion", "worst", "skipped"):
        assert two[field] == getattr(one, field), field


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob(pattern)}


def test_features_made_by_two_are_those_made_by_one(pair: Pair) -> None:
    one, two = (contents(root / "stored", "block-*") for root in (pair.one, pair.two))
    assert len(one) == 13
    assert one == two


def test_clips_prepared_by_two_are_those_prepared_by_one(pair: Pair) -> None:
    one, two = (contents(root / "prepared", "*.clip") for root in (pair.one, pair.two))
    assert len(one) == 12
    assert one == two
    manifest = load_set(f"store:{pair.two / 'prepared'}")
    assert len(manifest.rows) == 12
    assert {path.name for path in (pair.two / "prepared").glob("index*")} == {f"index-{i}-of-2.jsonl" for i in (1, 2)}
