"""Sets of clips, one file each. A file registers a function ``(root, split) -> Manifest`` under the set's name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from kinelite.config import SplitConfig
from kinelite.data.manifest import Manifest
from kinelite.errors import unknown

Loader = Callable[[str, SplitConfig], Manifest]


@dataclass(frozen=True)
class SetCard:
    """What `kinelite list datasets` shows of a set."""

    name: str
    spec: str
    """How to name it on the command line, such as folder:ROOT."""
    summary: str
    load: Loader


_SETS: dict[str, SetCard] = {}


def register_set(name: str, *, spec: str, summary: str) -> Callable[[Loader], Loader]:
    """Decorator that puts a loader on the list under ``name``."""

    def keep(load: Loader) -> Loader:
        _SETS[name] = SetCard(name, spec, summary, load)
        return load

    return keep


def list_sets() -> dict[str, SetCard]:
    """All sets by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_SETS.items()))


def load_set(spec: str, split: SplitConfig | None = None) -> Manifest:
    """The manifest that ``NAME`` or ``NAME:ROOT`` stands for.

    Raises UsageError for an unknown name and DataError when the root holds no usable set.
    """
    name, _, root = spec.partition(":")
    sets = list_sets()
    if name not in sets:
        raise unknown("data set", name, sets, "kinelite list datasets")
    return sets[name].load(root, split or SplitConfig())
