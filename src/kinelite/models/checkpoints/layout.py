"""Names of other projects for the tensors of our models: recognised, renamed, and what has no place told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from kinelite.types import GREY_MEAN, GREY_STD

State = dict[str, Tensor]
GREY: Mapping[str, Any] = {"mean": GREY_MEAN, "std": GREY_STD}
"""`Layout.spec` of PySlowFast and its kin."""


@dataclass(frozen=True)
class Layout:
    """How a project names and stores the tensors of one model.

    The result has our names; the classifier of a single-label model is ``head.weight`` and ``head.bias``, whatever the
    task is called.
    """

    name: str
    """Whose layout it is, as users know it: 'PySlowFast', 'transformers'."""
    marks: tuple[str, ...]
    """Regular expressions; the layout is recognised when each of them is found in at least one name."""
    rename: tuple[tuple[str, str], ...] = ()
    """Regular expressions and what they become, all applied to each name one after the other."""
    drop: tuple[str, ...] = ()
    """Names, by regular expression after renaming, that hold nothing to load: index tables, counters, other heads."""
    convert: Callable[[nn.Module, State], State] | None = None
    """What names alone cannot do, called after renaming: transposing, stacking q, k and v."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the `InputSpec` that the weights were trained with, such as mean and std."""

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        """Whether the names are of this layout."""
        return all(any(re.search(mark, name) for name in state) for mark in self.marks)

    def translate(self, model: nn.Module, state: Mapping[str, Tensor]) -> State:
        """The tensors under our names. What is unknown keeps its name, for the caller to tell."""
        renamed = {self.renamed(name): tensor for name, tensor in state.items()}
        kept = {name: t for name, t in renamed.items() if not any(re.search(drop, name) for drop in self.drop)}
        return self.convert(model, kept) if self.convert else kept

    def renamed(self, name: str) -> str:
        """What a name becomes before `convert`."""
        for pattern, replacement in self.rename:
            name = re.sub(pattern, replacement, name)
        return name


def find_layout(layouts: tuple[Layout, ...], state: Mapping[str, Tensor]) -> Layout | None:
    """The first layout that recognises the names."""
    return next((layout for layout in layouts if layout.recognises(state)), None)
