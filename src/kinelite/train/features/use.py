"""What a stage on stored features does beside its steps: it decides, makes or opens its stores, and reads the test
sample of the validation clips from one."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kinelite.config import to_json
from kinelite.data.loader import choose_workers, leave_cores
from kinelite.data.manifest import Manifest
from kinelite.data.prepare.estimate import free_bytes
from kinelite.models import Factorised
from kinelite.records import write_json
from kinelite.train.build import augmentation
from kinelite.train.decoder import settled
from kinelite.train.evaluate import Scores, batches_of, together
from kinelite.train.features.choice import Choice, can_be_stored, choose_by_time, choose_early
from kinelite.train.features.extract import Means, extract
from kinelite.train.features.key import Key, make_key
from kinelite.train.features.loader import FeatureLoader, feature_loader
from kinelite.train.features.room import GIB, estimate
from kinelite.train.features.store import FeatureStore
from kinelite.train.part import stream_seed
from kinelite.train.step import task_logits
from kinelite.train.world import ALONE, World

if TYPE_CHECKING:
    from kinelite.train.job import Job

CHOICES = "choices.json"
"""What each stage of a run decided, so that a continued run decides the same."""


def training_store(job: Job, model: nn.Module) -> FeatureStore | None:
    """Features of the training clips for the stage that begins (or continues) with ``model``, loaded and frozen; None
    where it runs online.

    What was decided stands in ``job.progress.features``, with the seconds, GiB and peak memory of the pass.
    """
    p, asked = job.progress, job.config.features
    if not can_be_stored(model):
        return None
    key = _key(job, model, job.training, asked.views, asked.phases)
    if not p.features:
        # One process decides: the measurements behind a choice differ.
        choice = job.world.firsts((_kept(job) or _decide(job, model, key)) if job.world.first else None)
        assert choice is not None
        if job.world.first:
            _keep(job, choice)
        job.log.say(f"  Features of the frozen encoder: {choice.mode} ({choice.reason}).")
        p.features = {"mode": choice.mode, "reason": choice.reason}
    if p.features["mode"] == "online":
        return None
    began = time.perf_counter()
    store = make_store(job, model, job.training, key)
    p.features["seconds"] = p.features.get("seconds", 0.0) + time.perf_counter() - began
    peak_gib = job.memory.read_gib()
    p.features["peak_memory_gib"] = max(peak_gib, p.features.get("peak_memory_gib", 0.0))
    p.features |= {"views": asked.views, "phases": asked.phases, "gib": store.bytes / GIB, "folder": str(store.folder)}
    p.stage_peak_gib = max(p.stage_peak_gib, peak_gib)
    job.memory.reset()
    return store


def validation_features(job: Job, model: nn.Module, batch: int) -> FeatureLoader:
    """The test sample of the validation clips, from a store of one view that is made where it is not there."""
    store = make_store(job, model, job.validation, _key(job, model, job.validation, views=1, phases=1))
    return feature_loader(store, job.validation, batch, shuffle=False, share=batches_of(job.world))


def store_folder(job: Job, manifest: Manifest) -> Path:
    """Where the features of a split lie: ``stage-N/SPLIT`` in ``features.folder``, or in ``features`` of the run."""
    base = job.config.features.folder or job.out / "features"
    return Path(base) / f"stage-{job.progress.stage + 1}" / manifest.rows[0].split


def say_what_stays(job: Job) -> None:
    """Tell the size of the run's own stores, which only their owner deletes."""
    folder = job.out / "features"
    if stored := sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()):
        job.log.say(
            f"Stored features: {stored / GIB:.2f} GiB in {folder}. The run is done with them: delete that folder, or "
            "keep it for others (kinelite features export)."
        )


def make_store(job: Job, model: nn.Module, manifest: Manifest, key: Key) -> FeatureStore:
    """A whole store in `store_folder`, made as far as it is not there. The encoder is on the CPU afterwards, and as
    many threads compute as before."""
    assert isinstance(model, Factorised)
    folder, means = store_folder(job, manifest), _means(job, manifest)
    threads = torch.get_num_threads()
    leave_cores(means.workers, job.placement.accelerator)
    shown = f"features of {manifest.rows[0].split} clips"

    def show(done: int, clips: int) -> None:
        if job.log.bar is None:
            job.log.start(shown, clips, done)
        job.log.advance(done, "")

    try:
        # All processes fill the store; each has all of it when it returns.
        return extract(model, manifest, key, folder, means, show, lambda: job.asked_to_stop)
    finally:
        job.log.stop()
        torch.set_num_threads(threads)
        if job.fabric.device.type != "cpu":
            model.encoder.cpu()


@torch.no_grad()
def score_features(
    forward: Callable[[Tensor], Any],
    loader: FeatureLoader,
    manifest: Manifest,
    device: torch.device,
    world: World = ALONE,
) -> Scores:
    """As `kinelite.train.evaluate.score`, by what stands behind the encoder (in evaluation mode) from features."""
    found: list[list[Tensor]] = [[torch.empty(0, len(names))] for names in manifest.tasks.values()]
    indices: list[int] = []
    skipped: list[tuple[int, str]] = []
    for batch in loader:
        skipped += batch.skipped
        if batch.features is not None:
            for rows, values in zip(found, task_logits(forward(batch.features.to(device).float())), strict=True):
                rows.append(values.float().cpu())
            indices += batch.indices
    return together(Scores([torch.cat(rows) for rows in found], loader.labels[indices], indices, skipped), world)


def _key(job: Job, model: nn.Module, manifest: Manifest, views: int, phases: int) -> Key:
    assert isinstance(model, Factorised)
    config = job.config
    compute: Any = job.placement.precision
    return make_key(
        model,
        manifest,
        net=config.net,
        views=views,
        phases=phases,
        policy=augmentation(config.clips.policy, job.training),
        seed=stream_seed(config, job.progress.stage),
        precision=config.features.precision,
        compute=compute,
    )


def _means(job: Job, manifest: Manifest) -> Means:
    config = job.config
    return Means(
        device=str(job.fabric.device),
        workers=choose_workers(config.workers, job.placement.accelerator, len(manifest.rows)),
        decoder=settled(config.clips.decoder),
        limit_s=config.clips.limit_s,
        chunk_frames=config.memory.chunk_frames,
        compile=config.memory.compile,
        max_disk_gib=config.features.max_disk_gib,
    )


def _decide(job: Job, model: nn.Module, key: Key) -> Choice:
    stage, asked = job.config.stages[job.progress.stage], job.config.features
    early = choose_early(job.config, stage)
    if early is not None:
        return early
    assert isinstance(model, Factorised)
    expected = estimate(model, job.training, key, _means(job, job.training))
    folder = Path(asked.folder or job.out)
    return choose_by_time(asked, stage.epochs or 0, expected, free_bytes(folder))


def _kept(job: Job) -> Choice | None:
    """What this stage of this config decided before the run was interrupted."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        found = json.loads((job.out / CHOICES).read_text())[str(job.progress.stage)]
        if found["for"] == _asked(job):
            return Choice(found["mode"], found["reason"])
    return None


def _keep(job: Job, choice: Choice) -> None:
    path, kept = job.out / CHOICES, {}
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text())
    entry = {"mode": choice.mode, "reason": choice.reason, "for": _asked(job)}
    write_json(path, kept | {str(job.progress.stage): entry})


def _asked(job: Job) -> dict[str, Any]:
    return {"features": to_json(job.config.features), "stage": to_json(job.config.stages[job.progress.stage])}
