"""Score a model on the clips of a manifest: views averaged, metrics by torchmetrics, every clip accounted for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from kinelite.data.crew import LIMIT_S
from kinelite.data.dataset import ClipDataset, Reading
from kinelite.data.loader import Share, make_loader
from kinelite.data.manifest import Manifest
from kinelite.errors import DataError
from kinelite.train.chunks import clip_logits
from kinelite.train.joint import joint_numbers
from kinelite.train.step import task_logits
from kinelite.train.strips import write_strip
from kinelite.train.world import ALONE, World
from kinelite.types import InputSpec

LARGEST_CONFUSION = 1000
"""Classes up to which the confusion matrix is recorded: that of EPIC-Kitchens' 3,806 actions has 14 million cells."""


@dataclass
class Scores:
    """Logits of every clip that could be decoded, averaged over its views (as ViViT does, before the softmax)."""

    logits: list[Float[Tensor, "n _"]]
    """One tensor per task."""
    labels: Int64[Tensor, "n tasks"]
    indices: list[int]
    """Rows of the manifest."""
    skipped: list[tuple[int, str]]


@torch.no_grad()
def score(
    forward: Callable[[Tensor], Any],
    manifest: Manifest,
    spec: InputSpec,
    device: torch.device,
    *,
    views: tuple[int, int] = (1, 1),
    batch: int = 16,
    workers: int = 0,
    decoder: str = "pyav",
    limit_s: float = LIMIT_S,
    chunk_frames: int = 0,
    tick: Callable[[int], None] | None = None,
    world: World = ALONE,
) -> Scores:
    """Run ``forward`` (a model in evaluation mode) over all rows. ``tick`` is told how many clips are done.

    The processes of ``world`` share the batches; each returns the scores of all clips, which are those of one process.
    """
    per_step = max(1, batch // (views[0] * views[1]))
    clips = ClipDataset(manifest, Reading(spec, views=views, decoder=decoder))
    loader = make_loader(clips, per_step, shuffle=False, workers=workers, limit_s=limit_s, share=batches_of(world))
    found: list[list[Tensor]] = [[] for _ in manifest.tasks]
    labels: list[Tensor] = [torch.empty(0, len(manifest.tasks), dtype=torch.int64)]
    indices: list[int] = []
    skipped: list[tuple[int, str]] = []
    for clips in loader:
        skipped += clips.skipped
        if clips.frames is not None:
            count, view_count = clips.frames.shape[:2]
            outputs = task_logits(clip_logits(forward, clips.frames.flatten(0, 1), spec, device, chunk_frames))
            for task, values in enumerate(outputs):
                found[task].append(values.float().cpu().unflatten(0, (count, view_count)).mean(1))
            labels.append(clips.labels)
            indices += clips.indices
        del clips  # before the next batch is read
        if tick:
            tick(len(indices) + len(skipped))
    empty = [torch.empty(0, len(names)) for names in manifest.tasks.values()]
    logits = [torch.cat([e, *f]) for e, f in zip(empty, found, strict=True)]
    return together(Scores(logits, torch.cat(labels), indices, skipped), world)


def batches_of(world: World) -> Share:
    """What this process scores: whole batches, so that each clip's score is what it is in one process."""
    return Share(world.rank, world.size, whole_batches=True)


def together(scores: Scores, world: World) -> Scores:
    """The scores of all processes in the order of the manifest, each clip once."""
    if world.size == 1:
        return scores
    parts = world.everyones(scores)
    indices = [index for part in parts for index in part.indices]
    order = torch.tensor(indices, dtype=torch.int64).argsort()
    logits = [torch.cat([part.logits[task] for part in parts])[order] for task in range(len(scores.logits))]
    labels = torch.cat([part.labels for part in parts])[order]
    return Scores(logits, labels, sorted(indices), sorted(skip for part in parts for skip in part.skipped))


def task_numbers(logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], classes: tuple[str, ...]) -> dict[str, Any]:
    """top1, top5, ece, loss, per_class and confusion of one task, as JSON values. Shares, not percentages.

    top5 is None for five classes or fewer, where it says nothing; confusion is empty for more than 1000.
    ece: 15 equal bins (Guo et al. 2017).
    """
    k = len(classes)
    probabilities = logits.softmax(-1)
    confusion = multiclass_confusion_matrix(logits.argmax(-1), labels, k)
    clips = confusion.sum(1)
    per_class = {
        name: {"top1": (confusion[i, i] / clips[i]).item() if clips[i] else None, "clips": int(clips[i])}
        for i, name in enumerate(classes)
    }
    top5 = multiclass_accuracy(probabilities, labels, k, average="micro", top_k=5).item() if k > 5 else None
    return {
        "top1": multiclass_accuracy(probabilities, labels, k, average="micro").item(),
        "top5": top5,
        "ece": multiclass_calibration_error(probabilities, labels, k, n_bins=15).item(),
        "loss": F.cross_entropy(logits, labels).item(),
        "per_class": per_class,
        "confusion": confusion.tolist() if k <= LARGEST_CONFUSION else [],
    }


def numbers(scores: Scores, manifest: Manifest) -> dict[str, Any]:
    """The metrics of the first task, and those of each under ``tasks`` when there are several; there too what the
    heads tell about labels that others make up (an action from verb and noun).

    Raises DataError when not one clip could be decoded.
    """
    if not scores.indices:
        reason = scores.skipped[0][1] if scores.skipped else "the split is empty"
        raise DataError(
            f"None of {len(manifest.rows)} clips could be scored. First reason: {reason}. See: kinelite data check SPEC"
        )
    tasks = {
        name: task_numbers(logits, scores.labels[:, i], names)
        for i, ((name, names), logits) in enumerate(zip(manifest.tasks.items(), scores.logits, strict=True))
    }
    first = next(iter(tasks.values()))
    if manifest.joint is not None:
        logits = dict(zip(manifest.tasks, scores.logits, strict=True))
        tasks |= joint_numbers(logits, dict(zip(manifest.tasks, scores.labels.T, strict=True)), manifest.joint)
    return first | ({"tasks": tasks} if len(tasks) > 1 else {})


def check_skipped(skipped: list[dict[str, Any]], clips: int, allowed: float) -> None:
    """Raise DataError when more than the share ``allowed`` of ``clips`` could not be decoded."""
    share = len(skipped) / max(1, clips)
    if share > allowed:
        raise DataError(
            f"{len(skipped)} of {clips} clips could not be decoded "
            f"({100 * share:.0f} %, allowed {100 * allowed:.0f} %). "
            f"The first: {skipped[0]['reason']} See: kinelite data check SPEC"
        )


def worst_clips(scores: Scores, manifest: Manifest, count: int, out: Path) -> list[dict[str, Any]]:
    """The clips that the model was most sure about and wrong, each with a strip of frames written under ``out``."""
    probabilities = scores.logits[0].softmax(-1)
    confidence, predicted = probabilities.max(-1)
    labels = scores.labels[:, 0]
    wrong = torch.where(predicted != labels)[0]
    worst = wrong[confidence[wrong].argsort(descending=True)][:count]
    rows = []
    for rank, i in enumerate(worst.tolist()):
        row = manifest.rows[scores.indices[i]]
        rows.append(
            {
                "path": row.path,
                "label": manifest.classes[labels[i]],
                "predicted": manifest.classes[predicted[i]],
                "confidence": confidence[i].item(),
                "strip": write_strip(row, out, f"worst-{rank:02d}"),
            }
        )
    return rows


def evaluate(
    forward: Callable[[Tensor], Any],
    manifest: Manifest,
    spec: InputSpec,
    device: torch.device,
    out: Path,
    *,
    views: tuple[int, int] = (1, 1),
    batch: int = 16,
    workers: int = 0,
    decoder: str = "pyav",
    limit_s: float = LIMIT_S,
    chunk_frames: int = 0,
    strips: int = 6,
    tick: Callable[[int], None] | None = None,
    world: World = ALONE,
) -> dict[str, Any]:
    """Everything that an EvalRecord holds beside what names the run: metrics, worst clips, skipped clips, seconds."""
    began = time.perf_counter()
    scores = score(
        forward,
        manifest,
        spec,
        device,
        views=views,
        batch=batch,
        workers=workers,
        decoder=decoder,
        limit_s=limit_s,
        chunk_frames=chunk_frames,
        tick=tick,
        world=world,
    )
    seconds = time.perf_counter() - began
    return numbers(scores, manifest) | {
        "classes": list(manifest.classes),
        "scored": len(scores.indices),
        "clips": f"{len(scores.indices)} of {len(manifest.rows)}",
        "views": f"{views[0]}x{views[1]}",
        "worst": worst_clips(scores, manifest, strips, out) if world.first else [],
        "skipped": [{"path": manifest.rows[i].path, "reason": reason} for i, reason in scores.skipped],
        "seconds": seconds,
    }
