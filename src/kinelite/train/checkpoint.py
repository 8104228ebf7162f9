"""Checkpoints: one safetensors file each, written atomically, the last K kept.

Tensors are prefixed ``model.``, ``optim.`` and ``ema.``; everything that is a number lives as JSON in the header.
There is no random state: every draw is a function of (seed, stage, step), so there is nothing to save.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kinelite.records import replace_bytes

_NAME = re.compile(r"^step-(\d{9})\.safetensors$")


@dataclass
class Progress:
    """Where a run stands. All of it is in every checkpoint."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    """Batches of this epoch that are done."""
    stage_step: int = 0
    step: int = 0
    """Optimiser steps since the run began, over all stages."""
    train_s: float = 0.0
    """Seconds of training, evaluation excluded."""
    stage_s: float = 0.0
    eval_s: float = 0.0
    wait_s: float = 0.0
    peak_gib: float = 0.0
    stage_peak_gib: float = 0.0
    best: float = -1.0
    """Best validation top-1 of this stage."""
    stale: int = 0
    """Evaluations of this stage since the best one."""
    stage_done: bool = False
    skipped: int = 0
    """Clips that could not be decoded, counted once per epoch."""
    schedule: dict[str, float] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    """How this stage reads the features of its frozen encoder, as its record says; empty before that is known."""
    finished_stages: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Checkpoint:
    """A checkpoint as read back."""

    path: Path
    model: dict[str, Tensor]
    optim: dict[str, Tensor]
    ema: dict[str, Tensor]
    optim_groups: list[dict[str, Any]]
    scaler: dict[str, Any]
    progress: Progress
    data: str
    """Fingerprint of the manifest."""


def split_optimizer(state: dict[str, Any]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimiser's state dict as named tensors and JSON-able groups."""
    tensors = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, slots in state["state"].items()
        for name, value in slots.items()
        if value is not None
    }
    return tensors, state["param_groups"]


def join_optimizer(tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The inverse of ``split_optimizer``."""
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = tensor
    return {"state": slots, "param_groups": groups}


def checkpoint_path(folder: Path, progress: Progress) -> Path:
    """Where the checkpoint of ``progress`` belongs."""
    return folder / f"step-{progress.step:09d}.safetensors"


def save_checkpoint(
    path: Path,
    *,
    model: dict[str, Tensor],
    optimizer: dict[str, Any],
    ema: dict[str, Tensor],
    scaler: dict[str, Any],
    progress: Progress,
    data: str,
    keep: int,
) -> Path:
    """Write ``path`` (see `checkpoint_path`) so that a reader sees a whole file or none, then delete all but the last
    ``keep`` of its folder.

    Raises SetupError when the disk is full or the folder read-only; the checkpoints that exist stay.
    """
    slots, groups = split_optimizer(optimizer)
    tensors = {f"model.{k}": v for k, v in model.items()}
    tensors |= {f"optim.{k}": v for k, v in slots.items()} | {f"ema.{k}": v for k, v in ema.items()}
    header = {"optim_groups": groups, "scaler": scaler, "progress": asdict(progress), "data": data}
    content = save(
        {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()},
        metadata={"format": "pt", "kinelite": json.dumps(header)},
    )
    replace_bytes(path, content)
    for old in list_checkpoints(path.parent)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(p for p in folder.glob("step-*.safetensors") if _NAME.match(p.name))


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read whole, or None. Remains of an interrupted write are removed."""
    for leftover in folder.glob("*.tmp"):
        leftover.unlink(missing_ok=True)
    for path in reversed(list_checkpoints(folder)):
        try:
            return _read(path)
        except (SafetensorError, OSError, KeyError, ValueError):
            # Damaged after it was written (a failing disk): the one before it is the last good one.
            os.replace(path, path.with_suffix(".damaged"))
    return None


def _read(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {})["kinelite"])
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optim": {}, "ema": {}}
        for name in file.keys():  # noqa: SIM118  (not a dict)
            part, rest = name.split(".", 1)
            parts[part][rest] = file.get_tensor(name)
    return Checkpoint(
        path,
        **parts,
        optim_groups=header["optim_groups"],
        scaler=header["scaler"],
        progress=Progress(**header["progress"]),
        data=header["data"],
    )
