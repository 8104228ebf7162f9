"""A written file against PyTorch: it is kept only if its runtime gives the same logits for the golden clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from kinelite.errors import RunError
from kinelite.export import TOLERANCE, Checked, Gap, Run, find
from kinelite.export.call import called
from kinelite.export.clips import normalised
from kinelite.export.facts import Facts, from_text, golden_clip

LIMITS = {"fp32": TOLERANCE, "fp16": 0.05, "int8": 0.5}
"""Largest difference that a file is kept with: of a logit in fp32, as a share of the largest logit otherwise."""


@dataclass(frozen=True)
class Difference:
    """How far a file's logits are from PyTorch's in fp32."""

    largest: float | None
    """Of a logit; None: it cannot be run here."""
    scale: float
    """PyTorch's largest logit, without its sign."""
    same_label: bool = True
    """Whether the most probable class of every task is the same."""
    note: str = ""
    """Why it was not run."""

    def __str__(self) -> str:
        if self.largest is None:
            return self.note
        label = "same label" if self.same_label else "another label"
        return f"largest difference {self.largest:.2g} at logits up to {self.scale:.3g}, {label}"


def verify(name: str, path: Path, threads: int | None = None, shown: Path | None = None) -> Difference:
    """Run a file of the format on its golden clip and compare. ``shown``: the name that messages call it by.

    Raises RunError when it differs more than its precision explains, `Gap` when the runtime lacks something, UsageError
    for a damaged file.
    """
    format = find(name)
    facts = from_text(format.read_facts(path), path)
    scale = max(abs(logit) for logits in facts.golden_logits.values() for logit in logits)
    try:
        run = format.open(path, threads)
    except Gap as gap:
        if not isinstance(format, Checked):
            raise
        format.check(path, facts)
        return Difference(None, scale, note=f"not run: {gap}")
    found = compare(run, facts)
    limit = LIMITS[facts.precision] * (min(1.0, scale) if facts.precision == "fp32" else scale)
    if found.largest is None or not found.largest <= limit:
        raise RunError(
            f"{shown or path} gives other logits than PyTorch: {found}; allowed in {facts.precision} are {limit:.2g}. "
            "It is not kept. More bits or another format may do: kinelite export --help"
        )
    return found


def compare(run: Run, facts: Facts) -> Difference:
    """Logits of the golden clip against those that the file states, in every place of a batch in turn, beside clips
    that look otherwise."""
    clip = normalised(golden_clip(facts)[None], facts.spec)
    wanted = [np.array(logits, np.float32) for logits in facts.golden_logits.values()]
    found = Difference(0.0, max(float(np.abs(logits).max()) for logits in wanted))
    for place in range(facts.batch):
        video = clip.flip(2, 4).neg().repeat(facts.batch, 1, 1, 1, 1)
        video[place] = clip[0]
        found = _worse(found, called(run, facts, video), wanted, place, facts.batch)
    return found


def _worse(
    so_far: Difference, outputs: Sequence[Tensor], wanted: Sequence[np.ndarray], place: int, batch: int
) -> Difference:
    largest, same = so_far.largest or 0.0, so_far.same_label
    fits = [tuple(logits.shape) for logits in outputs] == [(batch, len(golden)) for golden in wanted]
    if not fits or not all(bool(logits.isfinite().all()) for logits in outputs):
        return replace(so_far, largest=math.inf, same_label=False)
    for logits, golden in zip(outputs, wanted, strict=True):
        values = logits[place].float().numpy()
        largest = max(largest, float(np.abs(values - golden).max()))
        same = same and int(values.argmax()) == int(golden.argmax())
    return replace(so_far, largest=largest, same_label=same)
