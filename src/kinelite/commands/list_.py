"""kinelite list models|datasets|recipes|policies"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kinelite.errors import UsageError, unknown

Rows = dict[str, str]


def main(args: list[str]) -> dict[str, Any]:
    """Print one list; a second word is a pattern such as 'vivit*'."""
    if not args or args[0] in ("-h", "--help"):
        print(f"usage: kinelite list {'|'.join(LISTS)} [PATTERN]\n\nExample: kinelite list models 'vivit*'")
        if not args:
            raise UsageError(f"Which list? One of: {', '.join(LISTS)}")
        return {}
    if args[0] not in LISTS:
        raise unknown("list", args[0], LISTS, "kinelite list --help")
    from fnmatch import fnmatch

    pattern = args[1] if len(args) > 1 else "*"
    rows = {name: text for name, text in LISTS[args[0]]().items() if fnmatch(name, pattern)}
    if not rows:
        raise unknown(args[0].rstrip("s"), pattern, LISTS[args[0]](), f"kinelite list {args[0]}")
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:{width}}  {text}")
    return {args[0]: rows}


def _models() -> Rows:
    from kinelite.models import card, list_models

    return {name: card(name).summary for name in list_models()}


def _datasets() -> Rows:
    from kinelite.data.sets import list_sets

    return {card.spec: card.summary for card in list_sets().values()}


def _recipes() -> Rows:
    from kinelite.recipes import RECIPES

    return {name: " ".join((make.__doc__ or "").split("\n\n")[0].split()) for name, make in RECIPES.items()}


def _policies() -> Rows:
    from kinelite.data.augment import POLICIES

    return {name: str(policy) for name, policy in POLICIES.items()}


LISTS: dict[str, Callable[[], Rows]] = {
    "models": _models,
    "datasets": _datasets,
    "recipes": _recipes,
    "policies": _policies,
}
