"""From a run or a model to a file that another runtime executes: written, run there, compared, and only then kept."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kinelite.errors import KINELITE_ERRORS, DataError, UsageError, unknown
from kinelite.export import Format, Gap, ready
from kinelite.export.accuracy import as_split
from kinelite.export.call import Step, calls, first_inputs, stepping
from kinelite.export.clips import CALIBRATION, Clips, drawn, normalised, read
from kinelite.export.facts import Facts, golden_clip, packed, to_text
from kinelite.export.rewrite import rewritten
from kinelite.export.source import label, trained_or_new
from kinelite.export.verify import Difference, verify
from kinelite.models.cost import count_gmacs
from kinelite.records import explained, version
from kinelite.train.step import task_logits
from kinelite.train.trained import Trained


@dataclass(frozen=True)
class Written:
    """A file that was kept."""

    path: Path
    format: str
    facts: Facts
    difference: Difference
    size_mib: float
    seconds: float


def export(
    source: str | Path | Trained,
    format: str = "onnx",
    precision: str = "fp32",
    out: str | Path | None = None,
    *,
    batch: int = 1,
    stream: bool = False,
    data: str | None = None,
    said: Callable[[str], None] = print,
    **built: Any,
) -> Written:
    """Write a model for another runtime and check that it gives the same logits there.

    Args:
        source: run folder, weight file, MODEL@WEIGHTS, or the name of a model, whose weights are then random.
        format: of `kinelite.export.FORMATS`.
        precision: of `kinelite.export.PRECISIONS`; int8 by the runtime's own quantisation.
        out: the file; by default MODEL-PRECISION with the format's suffix, in the run folder or here.
        batch: clips of a call.
        stream: one frame of a clip per call, with the state as input and output, for models that can.
        data: set whose training clips int8 is calibrated with (default: drawn clips).
        said: takes sentences on what is done.
        built: frames, size, pretrained: of a model that is named.

    Raises:
        UsageError: unknown source, format, precision.
        SetupError: what the format needs is not installed, or the file cannot be written.
        RunError: the file gives other logits.
        Gap: the runtime lacks something.
    """
    began = time.perf_counter()
    chosen = ready(format)
    if precision not in chosen.PRECISIONS:
        raise unknown("precision", precision, chosen.PRECISIONS, "kinelite export --help")
    if stream and precision != "fp32":
        raise UsageError(
            f"--stream --precision {precision}: a stream adds up what it has seen, which fp32 alone can hold."
        )
    trained = source if isinstance(source, Trained) else trained_or_new(str(source), **built)
    spec = trained.spec
    said(
        f"{trained.name} from {label(trained)}: {spec.frames} frames of {spec.size} pixels, batch {batch}, {precision}"
    )
    path = place_of(Path(out) if out is not None else default_path(trained, chosen, precision), format, chosen.SUFFIX)
    clips = calibration(trained, data, said) if precision == "int8" else None
    state = stepping(trained.model, trained.name).start(batch) if stream else ()
    facts = facts_of(trained, precision, batch, tuple(tuple(part.shape) for part in state), clips)
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    # Of this process: two exports to one place must not write into each other's file.
    partial = path.with_name(f".{path.name.removesuffix(chosen.SUFFIX)}.{os.getpid()}.partial{chosen.SUFFIX}")
    try:
        with explained(path.parent), _gaps():
            _write(chosen, trained.model, facts, partial, clips)
        difference = verify(format, partial, shown=path)
        _replace(partial, path)
    finally:
        _remove(partial)
    return Written(path, format, facts, difference, size_mib(path), time.perf_counter() - began)


def facts_of(
    trained: Trained,
    precision: str,
    batch: int = 1,
    state: tuple[tuple[int, ...], ...] = (),
    clips: Clips | None = None,
) -> Facts:
    """What the file will say, with the logits of PyTorch for a drawn clip."""
    golden = drawn(trained.spec, 1, seed=1).pixels[0]
    model: Any = trained.model
    try:
        with torch.no_grad():
            logits = task_logits(model(normalised(golden[None], trained.spec)))
    except (RuntimeError, ValueError, IndexError) as error:
        asked = f"{trained.spec.frames} frames of {trained.spec.size} pixels"
        raise UsageError(f"{trained.name} cannot take {asked}: {_line(error)}") from error
    named = zip(trained.tasks, logits, strict=True)
    return Facts(
        model=trained.name,
        precision=precision,
        spec=trained.spec,
        tasks=trained.tasks,
        batch=batch,
        state=state,
        source=label(trained),
        kinelite=version("kinelite") or "",
        gmacs=count_gmacs(model, trained.spec),
        params_m=sum(p.numel() for p in model.parameters()) / 1e6,
        golden_clip=packed(golden),
        golden_logits={task: [float(v) for v in values[0]] for task, values in named},
        calibrated_with=clips.said if clips else "",
    )


def calibration(trained: Trained, data: str | None, said: Callable[[str], None]) -> Clips:
    """Clips whose activations give the ranges of int8: of the run's own training split. Raises DataError."""
    if data is None:
        said("int8: ranges from drawn clips; --data SPEC takes them from your own")
        return drawn(trained.spec, CALIBRATION, seed=2)
    manifest = as_split(trained, data)
    clips = read(manifest.only("train") if manifest.only("train").rows else manifest, trained.spec, CALIBRATION)
    if not clips.pixels:
        raise DataError(f"No clip of {data} could be decoded to calibrate with. See: kinelite data check {data}")
    return clips


def place_of(path: Path, format: str, suffix: str) -> Path:
    """``path``, if a file of the format may be put there. Raises UsageError."""
    if not path.name.endswith(suffix):
        raise UsageError(f"--out {path}: a file of the format {format} ends in {suffix}.")
    if path.is_dir() and not (path / "Manifest.json").is_file():
        raise UsageError(f"--out {path}: a folder is there that no export wrote. Name another place.")
    return path


def default_path(trained: Trained, chosen: Format, precision: str) -> Path:
    """In the run folder, or here."""
    return trained.folder / f"{trained.name.replace(':', '-')}-{precision}{chosen.SUFFIX}"


def size_mib(path: Path) -> float:
    """Of a file, or of all files of a package."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files) / 2**20


def _write(chosen: Format, model: nn.Module, facts: Facts, path: Path, clips: Clips | None) -> None:
    clip = normalised(golden_clip(facts)[None], facts.spec)
    inputs = first_inputs(clip.repeat(facts.batch, 1, 1, 1, 1), facts)
    graph = rewritten(Step(stepping(model, facts.model)) if facts.state else model, inputs, chosen.AXES)
    shown = [given for video in clips.videos(facts.batch) for given in calls(graph, facts, video)] if clips else []
    chosen.write(graph, inputs, path, to_text(facts), facts.precision, shown)


@contextlib.contextmanager
def _gaps() -> Iterator[None]:
    """What a library raises while it writes is what it lacks; five libraries have no common class for that."""
    try:
        yield
    except (*KINELITE_ERRORS, Gap, OSError, MemoryError):
        raise
    except Exception as error:
        raise Gap(f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _replace(partial: Path, path: Path) -> None:
    """Put a file or a package in the place of what was there, which is gone only then."""
    with explained(path.parent):
        if not path.is_dir():
            os.replace(partial, path)
            return
        aside = path.with_name(f".{path.name}.{os.getpid()}.old")
        os.replace(path, aside)
        os.replace(partial, path)
        shutil.rmtree(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
