"""A written file against PyTorch: it is kept only if its runtime gives the same logits for the golden clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kinelite.errors import RunError
from kinelite.export import TOLERANCE, Gap, Run, find
from kinelite.export.call import called
from kinelite.export.facts import Facts, from_text, golden_clip, normalised

LIMITS = {"fp32": TOLERANCE, "fp16": 0.05, "int8": 1.0}
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


def verify(name: str, path: Path, threads: int | None = None) -> Difference:
    """Run a file of the format on its golden clip and compare.

    Raises RunError when it differs more than its precision explains, `Gap` when the runtime lacks something, UsageError
    for a damaged file.
    """
    format = find(name)
    facts = from_text(format.read_facts(path), path)
    scale = max(abs(logit) for logits in facts.golden_logits.values() for logit in logits)
    try:
        run = format.open(path, threads)
    except Gap as gap:
        if name != "coreml":
            raise
        return Difference(None, scale, note=f"not run: {gap}")
    found = compare(run, facts)
    limit = LIMITS[facts.precision] * (min(1.0, scale) if facts.precision == "fp32" else scale)
    if found.largest is None or not found.largest <= limit:
        raise RunError(
            f"{path} gives other logits than PyTorch: {found}; allowed in {facts.precision} are {limit:.2g}. "
            "It is not kept."
        )
    return found


def compare(run: Run, facts: Facts) -> Difference:
    """Logits of the golden clip, in every place of the batch, against those that the file states."""
    clip = torch.from_numpy(normalised(golden_clip(facts)[None], facts.spec))
    outputs = called(run, facts, clip.expand(facts.batch, -1, -1, -1, -1).contiguous())
    wanted = [np.array(logits, np.float32) for logits in facts.golden_logits.values()]
    scale = max(float(np.abs(logits).max()) for logits in wanted)
    largest, same = 0.0, len(outputs) == len(wanted)
    for logits, golden in zip(outputs, wanted, strict=False):
        values = logits.float().numpy()
        if values.shape != (facts.batch, len(golden)) or not np.isfinite(values).all():
            return Difference(math.inf, scale, same_label=False)
        largest = max(largest, float(np.abs(values - golden).max()))
        same = same and bool((values.argmax(1) == golden.argmax()).all())
    return Difference(largest if len(outputs) == len(wanted) else math.inf, scale, same_label=same)
