"""How weights differ from what a model takes, in lines that can be read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kinelite.errors import UsageError

SHOWN = 8
"""Most lines of each kind in a difference."""


def part_of(state: Mapping[str, Tensor], part: str) -> dict[str, torch.Size]:
    """Names and shapes of one part of a model."""
    return {k: v.shape for k, v in state.items() if k.startswith(f"{part}.")}


def refuse_misfit(
    label: str,
    what: str,
    wanted: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    names: Mapping[str, str] | None = None,
    hint: str = "",
) -> None:
    """Raise UsageError with the `difference` of what a model wants and what ``label`` gives, if there is one."""
    lines = difference(wanted, given, names)
    if not lines:
        return
    heads_only = part_of(wanted, "head") != part_of(given, "head") and not difference(
        {k: v for k, v in wanted.items() if not k.startswith("head.")},
        {k: v for k, v in given.items() if not k.startswith("head.")},
    )
    if heads_only and names is None:
        hint = (
            "\nOnly the classifier differs: start from it with --init, which makes a new classifier "
            "(from Python: load_weights(..., allow_new_head=True))."
        )
    raise UsageError(f"The weights of {label} do not fit {what}:\n" + "\n".join(lines) + hint)


def difference(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], names: Mapping[str, str] | None = None
) -> list[str]:
    """Lines that say how two state dicts differ in names and shapes; empty when they fit.

    ``names``: what the file calls a tensor, where that is known.
    """
    called = {ours: f" (file: {theirs})" for ours, theirs in (names or {}).items() if ours != theirs}
    missing = [f"  {k} {_shape(v)}" for k, v in wanted.items() if k not in given]
    extra = [f"  {k} {_shape(v)}{called.get(k, '')}" for k, v in given.items() if k not in wanted]
    shapes = [
        f"  {k}: file {_shape(given[k])}, model {_shape(v)}{called.get(k, '')}"
        for k, v in wanted.items()
        if k in given and given[k].shape != v.shape
    ]
    return [
        *_some("in the model but not in the file", missing),
        *_some("in the file but not in the model", extra),
        *_some("of another shape", shapes),
    ]


def _some(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [f"{len(lines)} {title}:", *lines[:SHOWN], *more]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
