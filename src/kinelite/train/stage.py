"""What a stage does to a model: freeze parts by name, and keep them still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from kinelite.errors import unknown


@dataclass(frozen=True)
class Frozen:
    """What a list of patterns froze."""

    names: tuple[str, ...]
    """Parameter names."""
    counts: dict[str, int]
    """Pattern -> number of values that it froze."""

    def __str__(self) -> str:
        if not self.counts:
            return "nothing frozen"
        return ", ".join(f"{pattern} ({count / 1e6:.2f} M values)" for pattern, count in self.counts.items())


def freeze(model: nn.Module, patterns: Sequence[str]) -> Frozen:
    """Take the gradient from every parameter whose name matches a pattern and give it to all others.

    Raises UsageError for a pattern that matches nothing.
    """
    counts: dict[str, int] = {}
    names: list[str] = []
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matched = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matched:
            parts = sorted({f"{name.split('.')[0]}.*" for name in parameters})
            raise unknown("freeze pattern", pattern, parts, "kinelite info MODEL")
        counts[pattern] = sum(parameters[name].numel() for name in matched)
        names += [name for name in matched if name not in names]
    for name, parameter in parameters.items():
        parameter.requires_grad_(name not in names)
    return Frozen(tuple(names), counts)


def train_mode(model: nn.Module) -> None:
    """Training mode for what trains; evaluation mode for every module whose parameters are all frozen.

    So dropout, stochastic depth and running statistics of a frozen part are off, whatever the pattern named.
    """
    model.train()
    still = [m for m in model.modules() if _all_frozen(m)]
    for module in still:
        module.eval()


def _all_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def trained_parameters(model: nn.Module) -> int:
    """Number of values that take a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
