"""What a stage does to a model: freeze parts by name, and keep them still."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from kinelite.errors import unknown

BACKBONE = "@backbone"


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

    ``@backbone`` stands for what the model starts from image weights (`VideoModel.in_backbone`), or, where nothing
    of it does, for all but the classifier.

    Raises UsageError for a pattern that matches nothing.
    """
    counts: dict[str, int] = {}
    names: list[str] = []
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matched = _matching(model, parameters, pattern)
        if not matched:
            parts = [BACKBONE, *sorted({f"{name.split('.')[0]}.*" for name in parameters})]
            raise unknown("freeze pattern", pattern, parts, "kinelite info MODEL")
        counts[pattern] = sum(parameters[name].numel() for name in matched)
        names += [name for name in matched if name not in names]
    for name, parameter in parameters.items():
        parameter.requires_grad_(name not in names)
    return Frozen(tuple(names), counts)


def _matching(model: nn.Module, names: Iterable[str], pattern: str) -> list[str]:
    if pattern != BACKBONE:
        return [name for name in names if fnmatchcase(name, pattern)]
    in_backbone = getattr(model, "in_backbone", lambda name: not name.startswith("head."))
    return [name for name in names if in_backbone(name)]


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


def frozen_encoder(model: nn.Module) -> bool:
    """Whether the encoder of a model takes no gradient at all."""
    encoder = getattr(model, "encoder", None)
    return isinstance(encoder, nn.Module) and _all_frozen(encoder)


def trained_parameters(model: nn.Module) -> int:
    """Number of values that take a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
