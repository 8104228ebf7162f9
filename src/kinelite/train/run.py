"""From a config to a finished run folder: checks, resume, training, evaluation, record."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from kinelite.config import TrainConfig, differences, from_json, to_json
from kinelite.data.loader import choose_workers
from kinelite.data.manifest import Manifest
from kinelite.data.sets import load_set
from kinelite.errors import DataError, RunError, SetupError, UsageError
from kinelite.limits import check_config
from kinelite.models.weights import load_weights
from kinelite.records import EvalRecord, TrainRecord, environment, explained, from_dict, truncate_jsonl, write_json
from kinelite.train.build import check_stages
from kinelite.train.checkpoint import Checkpoint, list_checkpoints, load_latest
from kinelite.train.decoder import settled, with_decoder
from kinelite.train.device import PeakMemory, place
from kinelite.train.evaluate import check_skipped, evaluate
from kinelite.train.fabric import make_fabric
from kinelite.train.features.use import say_what_stays
from kinelite.train.fit import fit
from kinelite.train.job import Interrupted, Job
from kinelite.train.lock import locked
from kinelite.train.log import RunLog
from kinelite.train.outcome import explain, write_record
from kinelite.train.part import Part, build_part
from kinelite.train.trained import FILE, save_trained
from kinelite.train.world import World, join

# A run may be continued with these changed: they do not alter what is learnt.
FREE_FIELDS = (
    *("out", "workers", "max_hours", "features.folder", "features.max_disk_gib"),
    *("keep.every_steps", "keep.every_s", "keep.last", "keep.strips"),
    *("memory.recompute", "strategy"),
)


def train(config: TrainConfig, command: str | None = None) -> TrainRecord:
    """Run a training config to its end, or continue the unfinished run in ``config.out``.

    Returns the record that is also in ``record.json``; a run folder that is finished is not run again. Processes that
    torchrun or srun started train together; the first one writes.
    Raises UsageError when the folder holds another run, DataError for unusable data, RunError when training fails.
    """
    config = config.resolved()
    check_config(config)
    out, world = Path(config.out), join()
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    check_folder(out, config)
    finished = _finished(out)
    if finished is not None:
        return finished
    manifest = load_set(config.data, config.split)
    training, held_out = split_of(manifest)
    check_stages(config, training)
    with locked(out) if world.first else contextlib.nullcontext():
        job = _open(config, manifest, training, held_out, out, world)
        record = _run(job, manifest, held_out, command or _command())
        world.wait()  # none goes while another one may still need it
        return record


def check_folder(out: Path, config: TrainConfig) -> None:
    """Raise UsageError, listing what differs, when ``out`` holds a run of another config.

    A folder in which nothing was learnt yet is free: the first command often has a slip.
    """
    path = out / "config.json"
    if not path.exists():
        return
    try:
        there = from_json(json.loads(path.read_text()))
    except (json.JSONDecodeError, UsageError) as error:
        raise UsageError(f"'{path}' cannot be read as a Kinelite config ({error}). Choose another --out.") from error
    differs = {k: v for k, v in differences(there, config).items() if k not in FREE_FIELDS}
    if differs and (list_checkpoints(out / "checkpoints") or (out / FILE).exists()):
        lines = "\n".join(f"  {name}: {old!r} there, {new!r} now" for name, (old, new) in differs.items())
        raise UsageError(
            f"'{out}' holds a run of another config:\n{lines}\n"
            "Continue it with its own values, or choose another --out."
        )


def split_of(manifest: Manifest) -> tuple[Manifest, Manifest]:
    """Training rows and validation rows (the test rows where there is no validation split).

    Raises DataError when one of them is empty or only one class is left.
    """
    training, held_out = manifest.only("train"), manifest.only("val")
    if not held_out.rows:
        held_out = manifest.only("test")
    for name, part in (("training", training), ("validation", held_out)):
        if not part.rows:
            raise DataError(
                f"'{manifest.name}' has no {name} clips (it has: {manifest.splits()}). See: kinelite data check SPEC"
            )
    for i, (task, classes) in enumerate(manifest.tasks.items()):
        seen = {row.labels[i] for row in training.rows}
        if len(seen) < 2:
            raise DataError(
                f"All training clips of '{manifest.name}' have the same {task} of {len(classes)}; "
                "at least two are needed."
            )
    return training, held_out


def _finished(out: Path) -> TrainRecord | None:
    path = out / "record.json"
    if not path.exists():
        return None
    with contextlib.suppress(json.JSONDecodeError, DataError):
        record = from_dict(TrainRecord, json.loads(path.read_text()))
        return record if record.status == "ok" else None
    return None


def _open(
    config: TrainConfig, manifest: Manifest, training: Manifest, held_out: Manifest, out: Path, world: World
) -> Job:
    placement = place(config.device, config.precision)
    fabric = make_fabric(placement, world, config.strategy)
    log = RunLog(out / "metrics.jsonl", quiet=not world.first)
    with world.first_before_others():  # the first one clears away what a kill left
        if world.first:
            for leftover in out.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)  # of a write that a kill cut short
        found = load_latest(out / "checkpoints")
    if found and found.data != manifest.fingerprint():
        raise UsageError(
            f"The clips of '{config.data}' are not those that '{out}' was trained on so far. "
            "Bring them back, or choose another --out."
        )
    with world.first_before_others():  # it measures decoders, the others read what it found
        if world.first:
            write_json(out / "config.json", to_json(config))
        check_shared(out, config, found, world)
        config = with_decoder(config, training, log)
    memory, data = PeakMemory(placement.device), manifest.fingerprint()
    job = Job(config, training, held_out, fabric, placement, memory, out, log, data, world, resume=found)
    if found:
        job.progress = found.progress
        log.say(f"Continuing {out} at step {found.progress.step} ({found.path.name}).")
    if world.first:
        _trim(job, found)
    _introduce(job, manifest)
    return job


def _trim(job: Job, found: Checkpoint | None) -> None:
    """Drop the rows of metrics.jsonl that the continued run will write again."""
    here = (found.progress.stage, found.progress.epoch, found.progress.step) if found else (0, 0, -1)
    started = bool(found) and job.progress.stage_step > 0

    def keep(row: dict[str, Any]) -> bool:
        if row.get("event") == "eval":
            return (row["stage"], row["epoch"]) <= here[:2]
        if row.get("event") == "stage":
            return row["stage"] < here[0] or (row["stage"] == here[0] and started)
        return row.get("step", 0) <= here[2]

    truncate_jsonl(job.log.path, keep)


def _introduce(job: Job, manifest: Manifest) -> None:
    splits = ", ".join(f"{count} {name}" for name, count in manifest.splits().items())
    job.log.say(
        f"{manifest.name}: {splits} clips, " + ", ".join(f"{len(v)} {k}s" for k, v in manifest.tasks.items()) + "."
    )
    for note in manifest.notes:
        job.log.say(f"  {note}")


def check_shared(out: Path, config: TrainConfig, found: Checkpoint | None, world: World) -> None:
    """Raise SetupError when this process does not see the run folder that the first one writes."""
    step = found.progress.step if found else -1
    try:
        same = json.loads((out / "config.json").read_text()) == to_json(config)
    except (OSError, ValueError):
        same = False
    if not same:
        raise SetupError(
            f"Process {world.rank} of {world.size} does not see in '{out}' (at step {step}) what the first one wrote "
            "there. The run folder must lie on a disk that all machines share, under the same path."
        )


def _run(job: Job, manifest: Manifest, held_out: Manifest, command: str) -> TrainRecord:
    job.watch_signals()
    try:
        part = _trained_part(job)
        if job.world.first:
            save_trained(part, manifest, job.config, job.out)
        return _conclude(job, part, held_out, command)
    except Interrupted as stop:
        # On a second signal, which torchrun sends once the others have ended, it would stop at once.
        job.unwatch_signals(ignore=True)
        write_record(job, command, status="stopped", message=str(stop))
        raise Interrupted(f"{stop} Continue with:\n  {command}") from None
    except (RunError, DataError, SetupError) as error:
        with contextlib.suppress(SetupError):  # the disk may be what is full
            write_record(job, command, status="failed", message=str(error))
        raise
    except (RuntimeError, ValueError) as error:
        status, message = explain(job, error)
        write_record(job, command, status=status, message=message)
        raise RunError(message) from error
    finally:
        job.log.stop()
        job.unwatch_signals()
        if sys.exc_info()[0] is not None:
            job.world.part()


def _trained_part(job: Job) -> Part:
    p, resume = job.progress, job.resume
    trained = p.stage == len(job.config.stages) or (p.stage > 0 and p.stage_step == 0 and job.out_of_time())
    if resume is None or not trained:
        return fit(job)
    # Killed between the last step and the record: only the evaluation is left.
    part, _ = build_part(job.config, job.training, make_fabric(job.placement), p.stage - 1, None)
    load_weights(part.model, resume.model)
    return part


def _conclude(job: Job, part: Part, held_out: Manifest, command: str) -> TrainRecord:
    config = job.config
    part.model.eval()
    workers = choose_workers(config.workers, job.placement.accelerator, len(held_out.rows))
    batch = part.at_a_time
    # Clips that the model will be given come as pixels, so that is what it is judged by.
    forward = make_fabric(job.placement).setup_module(part.model) if part.stored else part.forward
    found = evaluate(
        forward,
        held_out,
        part.spec,
        job.fabric.device,
        job.out,
        batch=batch,
        workers=workers,
        decoder=settled(config.clips.decoder),
        limit_s=config.clips.limit_s,
        chunk_frames=config.memory.chunk_frames,
        strips=config.keep.strips,
        world=job.world,
    )
    split = held_out.rows[0].split
    # record.json says that a run is finished, so it is the last thing written.
    if job.world.first:
        record = EvalRecord(
            model=config.model,
            data=config.data,
            split=split,
            out=str(job.out),
            config=to_json(config),
            environment=environment(),
            command=command,
            **found,
        )
        write_json(job.out / "eval.json", record)
    check_skipped(found["skipped"], len(held_out.rows), config.clips.max_skipped)
    notes = [f"stopped after --max-hours {config.max_hours:g}"] if job.out_of_time() else []
    if job.progress.skipped:
        notes.append(f"{job.progress.skipped} times a training clip could not be decoded and was left out")
    say_what_stays(job)
    return write_record(job, command, status="ok", message="; ".join(notes), top1=found["top1"], top5=found["top5"])


def _command() -> str:
    return shlex.join(["kinelite", *sys.argv[1:]])
