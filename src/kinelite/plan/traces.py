"""Predictions that are asked for again: kept in memory, and on the disk from one command to the next."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinelite.cache import cache_folder, code_of
from kinelite.config import ClipConfig, FeaturesConfig, KeepConfig, SplitConfig, TrainConfig, to_json
from kinelite.errors import SetupError
from kinelite.plan.predict import predict
from kinelite.plan.step import Work
from kinelite.plan.surface import TOLERANCE, Surface, fit
from kinelite.records import version, write_json

MOST = 4000
"""Predictions that the file keeps, the newest."""
CORNER_CLIPS = (4, 32)
"""Of the four traces of a surface. Not 1: PyTorch saves copies where an axis has length 1."""
PASSES = 2
"""Forward passes of a step that are traced: gradients are there from the second one on, and then nothing is new."""


@dataclass(frozen=True)
class Traced:
    """What a step takes."""

    total_bytes: int
    parts_bytes: dict[str, int]
    flops_per_clip: float
    """Two per multiply-accumulate."""


class Traces:
    """`predict`, asked once for each step.

    Args:
        path: file that keeps the answers; None: memory alone. A file that cannot be read or written is done without.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.traced = 0
        """Steps that were traced, and not read from the file."""
        self._known: dict[str, Traced] = {}
        self._planes: dict[str, list[list[float]]] = {}
        """Of surfaces; empty where there is none."""
        self._levels: dict[str, np.ndarray] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, LookupError):
            kept: dict[str, Any] = json.loads(path.read_text()) if path else {"steps": {}, "planes": {}}
            self._known = {key: Traced(**value) for key, value in kept["steps"].items()}
            self._planes = dict(kept["planes"])

    def __call__(self, work: Work) -> Traced:
        """The step of ``work``. Raises UsageError for a model that cannot be built so."""
        micro = min(work.micro_batch, work.batch)
        batch = min(work.batch, PASSES * micro) if work.mode == "train" else work.batch
        short = replace(work, micro_batch=micro, batch=batch)
        key = _digest(short)
        if key not in self._known:
            self._trace(short, key)
        return _with_waiting(self._known[key], work, work.batch - batch)

    def surface(self, work: Work, frames: tuple[int, int]) -> Surface | None:
        """Peaks of the stage of ``work`` for all batches that go through the model at once, and all frames; None where
        they are not as `surface` describes them. ``work`` itself, such a step, is the fifth trace."""
        key = _digest(work) + "surface"
        if key not in self._planes:
            found = fit(lambda clips, n: self._levels_of(_at(work, clips, n)), CORNER_CLIPS, frames)
            there = self(work).total_bytes
            good = (
                found is not None
                and abs(found.peak_bytes(work.batch, work.stage.frames or work.config.frames) / there - 1) <= TOLERANCE
            )
            self._planes[key] = found.planes if found is not None and good else []
        return Surface(self._planes[key]) if self._planes[key] else None

    def _trace(self, work: Work, key: str) -> None:
        found = predict(work)
        self.traced += 1
        self._known[key] = Traced(found.peak.total_bytes, dict(found.peak.parts_bytes), found.flops / work.batch)
        self._levels[key] = found.levels

    def _levels_of(self, work: Work) -> np.ndarray:
        key = _digest(work)
        if key not in self._levels:
            self._trace(work, key)
        return self._levels[key]

    def save(self) -> None:
        """Write what is new, beside what others wrote meanwhile."""
        if self.path is None or not self.traced:
            return
        there = Traces(self.path)
        steps = list((there._known | self._known).items())[-MOST:]
        planes = list((there._planes | self._planes).items())[-MOST:]
        with contextlib.suppress(SetupError, OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, {"steps": {key: asdict(step) for key, step in steps}, "planes": dict(planes)})


def _at(work: Work, clips: int, frames: int) -> Work:
    return replace(work, batch=clips, micro_batch=clips, stage=replace(work.stage, frames=frames))


def stored_traces() -> Traces:
    """Traces that the user's cache keeps."""
    return Traces(cache_folder() / "plan" / "traces.json")


def _with_waiting(found: Traced, work: Work, clips: int) -> Traced:
    """On a CPU the batch as the loader gives it lies in the same memory, with the clips that were not traced."""
    if not clips or work.target != "cpu" or work.stored:
        return found
    size = work.stage.size or work.config.size or 224
    waiting = clips * 3 * (work.stage.frames or work.config.frames) * size**2
    parts = found.parts_bytes | {"inputs": found.parts_bytes["inputs"] + waiting}
    return replace(found, total_bytes=found.total_bytes + waiting, parts_bytes=parts)


def _digest(work: Work) -> str:
    """Hash of everything that a step's memory depends on."""
    plain = TrainConfig()
    config = replace(
        work.config,
        recipe=plain.recipe,
        data=plain.data,
        out=plain.out,
        pretrained=None,
        init=None,
        temporal_init=None,
        frames=plain.frames,
        epochs=plain.epochs,
        batch=plain.batch,
        micro_batch=plain.micro_batch,
        seed=plain.seed,
        device=plain.device,
        precision=plain.precision,
        workers=plain.workers,
        max_hours=plain.max_hours,
        split=SplitConfig(),
        clips=ClipConfig(),
        features=FeaturesConfig(),
        keep=KeepConfig(),
        stages=(),
    )
    stage = replace(work.stage, name="", epochs=None, lr=None, batch=None, micro_batch=None, init="previous")
    rest = [work.classes, work.batch, work.micro_batch, work.mode, work.precision, work.target, work.stored]
    kernels = [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    what = [to_json(config), to_json(stage), rest, kernels, _code()]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]


@cache
def _code() -> list[str | None]:
    """What computes: a prediction of another version is none of this one."""
    return [torch.__version__, version("timm"), version("torchvision"), code_of("models", "plan", "train")]
