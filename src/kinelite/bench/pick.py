"""Which models a list of names, patterns and groups stands for."""

from __future__ import annotations

from collections.abc import Sequence

from kinelite.bench.case import LIGHTWEIGHT
from kinelite.errors import UsageError, unknown

GROUPS = {"lightweight": LIGHTWEIGHT}
"""Name of a group -> its models."""


def pick(given: Sequence[str]) -> list[str]:
    """Models in the order in which they were named, each once. Raises UsageError for what stands for none."""
    from kinelite.models import list_models

    known = list_models()
    found: dict[str, None] = {}
    for name in given:
        matches = GROUPS.get(name) or ([name] if name in known or ":" in name else list_models(name))
        if not matches:
            raise unknown("model", name, [*known, *GROUPS], "kinelite list models")
        found |= dict.fromkeys(matches)
    if not found:
        raise UsageError("Which models? kinelite bench MODEL..., or 'lightweight' for the paper's thirteen.")
    return list(found)
