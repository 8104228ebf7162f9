"""An exported file as a model that predicts: the same call, another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.errors import SetupError, UsageError
from kinelite.export import Gap, format_of, ready
from kinelite.export.call import called
from kinelite.export.facts import Facts, from_text
from kinelite.train.trained import Trained


class Exported(nn.Module):
    """A file in its runtime. Any number of clips: they are given to it as many at a time as it was made for."""

    def __init__(self, run: Any, facts: Facts) -> None:
        super().__init__()
        self.run, self.facts = run, facts

    def forward(self, video: Float[Tensor, "b c t h w"]) -> Any:
        """Logits, or a dict of them by task."""
        batch, rows = self.facts.batch, []
        for start in range(0, len(video), batch):
            some = video[start : start + batch].float().cpu()
            # A short rest is filled up with its last clip.
            full = torch.cat([some, some[-1:].expand(batch - len(some), -1, -1, -1, -1)]) if len(some) < batch else some
            rows.append([logits[: len(some)].clone() for logits in called(self.run, self.facts, full.contiguous())])
        joined = [torch.cat(parts) for parts in zip(*rows, strict=True)]
        named = dict(zip(self.facts.tasks, joined, strict=True))
        return named if len(named) > 1 else joined[0]


def is_exported(path: str | Path) -> bool:
    """Whether a name is that of an exported file."""
    return format_of(path) is not None


def open_exported(path: str | Path, threads: int | None = None) -> Trained:
    """A file that `kinelite export` wrote, ready to predict.

    Raises UsageError when there is none or it is damaged, SetupError when its runtime is not here.
    """
    path, name = Path(path), format_of(path)
    assert name is not None
    if not path.exists():
        raise UsageError(f"No file '{path}'. Write one: kinelite export RUN --format {name} --out {path.name}")
    format = ready(name)
    facts = from_text(format.read_facts(path), path)
    try:
        run = format.open(path, threads)
    except Gap as gap:
        raise SetupError(f"{path} cannot be run here: {gap}.") from gap
    return Trained(Exported(run, facts).eval(), facts.spec, facts.tasks, facts.model, path, path.parent)
