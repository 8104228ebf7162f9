"""Numbers against scikit-learn and against formulas written out here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, recall_score, top_k_accuracy_score
from torch import Tensor

from kinelite.data.dataset import view_frames
from kinelite.data.manifest import Manifest, Row
from kinelite.data.sets import load_set
from kinelite.errors import DataError
from kinelite.train.evaluate import check_skipped, evaluate, score, task_numbers
from kinelite.train.step import normalise
from kinelite.types import InputSpec

CPU = torch.device("cpu")
SPEC = InputSpec(4, 32)


def draw(seed: int, clips: int, k: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, (clips, k))).float()
    return logits, torch.from_numpy(rng.integers(0, k, clips))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 9))
def test_metrics_are_those_of_scikit_learn(seed: int, clips: int, k: int) -> None:
    logits, labels = draw(seed, clips, k)
    names = tuple("abcdefghi"[:k])
    found = task_numbers(logits, labels, names)
    truth, shares, best = labels.numpy(), logits.double().softmax(-1).numpy(), logits.argmax(-1).numpy()
    every = list(range(k))
    assert found["top1"] == pytest.approx(accuracy_score(truth, best), abs=1e-6)
    assert found["loss"] == pytest.approx(log_loss(truth, shares, labels=every), abs=1e-4)
    assert found["confusion"] == confusion_matrix(truth, best, labels=every).tolist()
    recall = recall_score(truth, best, labels=every, average=None, zero_division=np.nan)
    for i, name in enumerate(names):
        count = int((truth == i).sum())
        assert found["per_class"][name]["clips"] == count
        expected = None if count == 0 else pytest.approx(recall[i], abs=1e-6)
        assert found["per_class"][name]["top1"] == expected
    if k > 5:
        assert found["top5"] == pytest.approx(top_k_accuracy_score(truth, shares, k=5, labels=every), abs=1e-6)
    else:
        assert found["top5"] is None


def test_calibration_error_is_the_mean_gap_of_fifteen_bins() -> None:
    logits, labels = draw(7, 400, 6)
    confidence, best = logits.softmax(-1).max(-1)
    right = (best == labels).double()
    gap = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            gap += inside.double().mean().item() * abs(right[inside].mean() - confidence[inside].double().mean()).item()
    assert gap > 0.1
    assert task_numbers(logits, labels, tuple("abcdef"))["ece"] == pytest.approx(gap, abs=1e-6)


@pytest.fixture(scope="module")
def clips(clip_folder: Path) -> Manifest:
    return load_set(f"folder:{clip_folder}")


def forward(video: Tensor) -> Tensor:
    """Two logits that differ from view to view and are not linear in the pixels."""
    return torch.stack([video.mean((1, 2, 3, 4)) ** 2, video[:, :, :, 5:20, 5:20].std((1, 2, 3, 4))], dim=1)


@pytest.mark.parametrize("views", [(1, 1), (2, 1), (2, 3)])
def test_logits_of_the_views_are_averaged(clips: Manifest, views: tuple[int, int]) -> None:
    scores = score(forward, clips, SPEC, CPU, views=views, batch=5)
    assert scores.indices == list(range(len(clips.rows)))
    assert scores.skipped == []
    for i, row in enumerate(clips.rows):
        frames = torch.from_numpy(np.stack(view_frames(row, SPEC, views))).transpose(1, 2)
        each = torch.cat([forward(normalise(view[None], SPEC, CPU)) for view in frames])
        assert len(each) == views[0] * views[1]
        assert torch.allclose(scores.logits[0][i], each.mean(0), atol=1e-5)
        assert scores.labels[i].tolist() == list(row.labels)


def test_every_clip_is_scored_or_listed(clips: Manifest, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"")
    bad = Row(str(tmp_path / "bad.mp4"), (0,), "val")
    mixed = replace(clips, rows=(*clips.rows[:3], bad, *clips.rows[3:5]))
    found = evaluate(forward, mixed, SPEC, CPU, tmp_path, batch=2, strips=2)
    assert found["clips"] == "5 of 6"
    assert found["scored"] == 5
    assert [s["path"] for s in found["skipped"]] == [bad.path]
    assert "bad.mp4" in found["skipped"][0]["reason"]
    assert sum(map(sum, found["confusion"])) == 5
    json.dumps(found)


def test_a_set_of_which_nothing_decodes_is_an_error(clips: Manifest, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"")
    only_bad = replace(clips, rows=(Row(str(tmp_path / "bad.mp4"), (0,), "val"),))
    with pytest.raises(DataError, match=r"None of 1 clips could be scored.*bad\.mp4"):
        evaluate(forward, only_bad, SPEC, CPU, tmp_path)


def test_the_worst_clips_are_wrong_and_the_surest_come_first(clips: Manifest, tmp_path: Path) -> None:
    found = evaluate(lambda video: forward(video) * 3, clips, SPEC, CPU, tmp_path, strips=4)
    worst = found["worst"]
    assert worst
    assert all(w["label"] != w["predicted"] for w in worst)
    assert [w["confidence"] for w in worst] == sorted((w["confidence"] for w in worst), reverse=True)
    assert all((tmp_path / w["strip"]).stat().st_size > 0 for w in worst)


def test_tasks_have_their_own_numbers(clips: Manifest, tmp_path: Path) -> None:
    rows = tuple(replace(row, labels=(row.labels[0], i % 3)) for i, row in enumerate(clips.rows))
    both = replace(clips, tasks={"verb": clips.classes, "noun": ("x", "y", "z")}, rows=rows)
    logits = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(0))
    taken = iter(logits.split(4))
    found = evaluate(lambda v: {"verb": forward(v), "noun": next(taken)}, both, SPEC, CPU, tmp_path, batch=4, strips=0)
    truth = [row.labels[1] for row in rows]
    assert found["tasks"]["noun"]["top1"] == pytest.approx(accuracy_score(truth, logits.argmax(-1)), abs=1e-6)
    assert found["top1"] == found["tasks"]["verb"]["top1"]


def test_a_share_of_undecodable_clips_is_allowed() -> None:
    one = [{"path": "a", "reason": "a is empty."}]
    check_skipped(one, 20, 0.05)
    with pytest.raises(DataError, match=r"1 of 19 clips could not be decoded \(5 %, allowed 5 %\).*a is empty"):
        check_skipped(one, 19, 0.05)
