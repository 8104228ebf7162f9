"""Labels for clips that have none."""

from __future__ import annotations

import csv
import glob
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kinelite.data.manifest import Manifest, Row
from kinelite.data.sets.folder import VIDEO_SUFFIXES
from kinelite.errors import DataError, UsageError
from kinelite.records import replace_bytes
from kinelite.train.device import place
from kinelite.train.evaluate import score
from kinelite.train.fabric import make_fabric
from kinelite.train.trained import Trained, load_trained


@dataclass
class Prediction:
    """The labels of one clip, or why there are none."""

    path: str
    labels: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Task -> the most probable labels, best first: {"label", "probability"}."""
    problem: str | None = None


def predict(
    run: str | Path,
    clips: Sequence[str | Path],
    *,
    top: int = 5,
    views: tuple[int, int] = (1, 1),
    batch: int = 8,
    device: str = "auto",
    precision: str = "auto",
) -> list[Prediction]:
    """Predict files, the videos in folders, and glob patterns, in that order. A bad clip is in the result too.

    ``run`` is anything that `kinelite.train.trained.load_trained` takes, or a file that `kinelite export` wrote.

    Raises UsageError when there is no trained model or ``top`` is below 1, DataError for a folder or pattern without
    a video.
    """
    if top < 1:
        raise UsageError(f"--top {top}: at least 1.")
    trained = _opened(run)
    paths = find_clips(clips)
    forward, where = _placed(trained, device, precision)
    unlabelled = tuple(Row(path, (0,) * len(trained.tasks), "predict") for path in paths)
    manifest = Manifest("clips", trained.tasks, unlabelled)
    scores = score(forward, manifest, trained.spec, where, views=views, batch=batch)
    found = [Prediction(path) for path in paths]
    for index, reason in scores.skipped:
        found[index].problem = reason
    for position, index in enumerate(scores.indices):
        for (task, classes), logits in zip(trained.tasks.items(), scores.logits, strict=True):
            best = logits[position].softmax(-1).topk(min(top, len(classes)))
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            found[index].labels[task] = [{"label": classes[i], "probability": share} for i, share in pairs]
    return found


def _opened(run: str | Path) -> Trained:
    """A run, or a file that `kinelite export` wrote."""
    # Late: the exporter is built upon this room.
    from kinelite.export import format_of

    if format_of(run) is None or str(run).startswith(("hf:", "https:", "http:")):
        return load_trained(run)
    from kinelite.export.exported import open_exported

    return open_exported(run)


def _placed(trained: Trained, device: str, precision: str) -> tuple[Any, torch.device]:
    """The model where it computes; an exported file computes where its runtime does, as it was written."""
    if not list(trained.model.parameters()):
        if device not in ("auto", "cpu") or precision != "auto":
            given = f"--device {device}" if device not in ("auto", "cpu") else f"--precision {precision}"
            raise UsageError(f"{given}: {trained.source} runs on the CPU, in the precision that it was written in.")
        return trained.model, torch.device("cpu")
    placement = place(device, precision)
    fabric = make_fabric(placement)
    forward = fabric.setup_module(trained.model.to(fabric.device))
    forward.eval()
    return forward, fabric.device


def find_clips(given: Sequence[str | Path]) -> list[str]:
    """Files as they are, videos below folders, matches of patterns; each once. Raises DataError naming what holds none.

    A plain path that does not exist stays in the list, so that it is reported with the others.
    """
    found: list[str] = []
    empty: list[str] = []
    for item in map(str, given):
        if Path(item).is_dir():
            here = sorted(str(p) for p in Path(item).rglob("*") if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES)
        elif any(c in item for c in "*?[") and not Path(item).exists():
            here = sorted(p for p in glob.glob(item, recursive=True) if Path(p).is_file())
        else:
            here = [item]
        empty += [] if here else [item]
        found += here
    if empty or not found:
        raise DataError(
            f"No video found in: {', '.join(empty)}. Give files, folders or patterns such as 'takes/*.mp4'."
        )
    return list(dict.fromkeys(found))


def write_csv(path: Path, found: Sequence[Prediction]) -> None:
    """One row per clip and label: path, task, rank, label, probability, problem."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "task", "rank", "label", "probability", "problem"])
    for p in found:
        if p.problem:
            writer.writerow([p.path, "", "", "", "", p.problem])
        for task, labels in p.labels.items():
            for rank, item in enumerate(labels, 1):
                writer.writerow([p.path, task, rank, item["label"], f"{item['probability']:.6f}", ""])
    replace_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))
