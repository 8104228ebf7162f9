"""Score a finished run on a set of clips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from kinelite.config import SplitConfig, TrainConfig, from_json, to_json
from kinelite.data.loader import choose_workers
from kinelite.data.manifest import Manifest
from kinelite.data.sets import load_set
from kinelite.errors import DataError, UsageError
from kinelite.records import EvalRecord, environment, write_json
from kinelite.train.device import place
from kinelite.train.evaluate import evaluate
from kinelite.train.fabric import make_fabric
from kinelite.train.joint import renumbered
from kinelite.train.trained import Trained, load_trained
from kinelite.train.world import join


def assess(
    run: str | Path,
    *,
    data: str | None = None,
    split_config: SplitConfig | None = None,
    on: str = "val",
    views: tuple[int, int] = (1, 1),
    out: Path | None = None,
    batch: int = 16,
    workers: int = -1,
    device: str = "auto",
    precision: str = "auto",
    command: str = "",
) -> EvalRecord:
    """Score ``run`` on one split of ``data`` (default: the set and split rule that it was trained with).

    Writes eval.json and strips of the worst clips into ``out``. Raises UsageError for an unknown split or classes that
    the model does not have, DataError when no clip can be scored.
    """
    trained = load_trained(run)
    config = saved_config(trained)
    spec_text = data or (config.data if config else None)
    if spec_text is None:
        raise UsageError(f"'{run}' does not say what it was trained on. Name a set: --data folder:ROOT")
    rule = split_config or (config.split if config else SplitConfig())
    manifest = in_order_of(trained, choose_split(load_set(spec_text, rule), on))
    placement, world = place(device, precision), join()
    fabric = make_fabric(placement)
    forward = fabric.setup_module(trained.model.to(fabric.device))
    forward.eval()
    out = out or trained.folder / f"eval-{on}-{views[0]}x{views[1]}"
    workers = choose_workers(workers, placement.accelerator, len(manifest.rows))
    found = evaluate(
        forward, manifest, trained.spec, fabric.device, out, views=views, batch=batch, workers=workers, world=world
    )
    record = EvalRecord(
        model=trained.name,
        data=spec_text,
        split=split_name(manifest, on),
        out=str(out),
        config=to_json(config) if config else {},
        environment=environment(),
        command=command,
        **found,
    )
    if world.first:
        write_json(out / "eval.json", record)
    world.wait()
    return record


def saved_config(trained: Trained) -> TrainConfig | None:
    """The config of the run that a model comes from, when its folder is at hand."""
    path = trained.folder / "config.json"
    return from_json(json.loads(path.read_text())) if path.is_file() else None


def split_name(manifest: Manifest, on: str) -> str:
    """The split that is scored, which is 'test' where 'val' was asked for and the set has none."""
    return on if on == "all" else manifest.rows[0].split


def choose_split(manifest: Manifest, on: str) -> Manifest:
    """One split, or all rows for 'all'; 'val' falls back to 'test' where the set has only that (the record says which).
    Raises UsageError for a split that the set does not have."""
    if on == "all":
        return manifest
    part = manifest.only(on)
    if part.rows:
        return part
    if on == "val" and (test := manifest.only("test")).rows:
        return test
    raise UsageError(f"'{manifest.name}' has no split '{on}'; it has {manifest.splits()}. Choose with --on.")


def in_order_of(trained: Trained, manifest: Manifest) -> Manifest:
    """The manifest with class numbers of the model: by name, so another order or a part of the classes is fine.

    Raises DataError naming the labels that the model was not trained on.
    """
    if set(manifest.tasks) != set(trained.tasks):
        raise DataError(
            f"The model predicts {', '.join(trained.tasks)}; the clips are labelled with {', '.join(manifest.tasks)}."
        )
    maps = []
    for task, classes in manifest.tasks.items():
        used = {row.labels[list(manifest.tasks).index(task)] for row in manifest.rows}
        known = {name: i for i, name in enumerate(trained.tasks[task])}
        missing = sorted(classes[i] for i in used if classes[i] not in known)
        if missing:
            raise DataError(
                f"The model was not trained on these labels of the set: {', '.join(missing[:5])}"
                f"{' ...' if len(missing) > 5 else ''} ({len(missing)} in all). "
                f"It knows: {', '.join(list(known)[:12])}."
            )
        maps.append({i: known.get(name, -1) for i, name in enumerate(classes)})
    order = [list(manifest.tasks).index(task) for task in trained.tasks]
    rows = tuple(replace(row, labels=tuple(maps[i][row.labels[i]] for i in order)) for row in manifest.rows)
    return replace(manifest, tasks=trained.tasks, rows=rows, joint=renumbered(manifest, trained.tasks))
