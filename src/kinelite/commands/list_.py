"""kinelite list models|datasets|recipes|policies"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

from kinelite.commands.list_models import list_models_verb
from kinelite.errors import UsageError, unknown

Rows = dict[str, Any]
"""Name -> what is printed beside it; fields where there are several."""


def main(args: list[str]) -> dict[str, Any]:
    """Print one list; a second word is a pattern such as 'vivit*'."""
    if not args or args[0] in ("-h", "--help"):
        print(
            f"usage: kinelite list {'|'.join(LISTS)} [PATTERN]\n\nExample: kinelite list models 'vivit*'\n"
            "Models can be chosen by size: kinelite list models --help"
        )
        if not args:
            raise UsageError(f"Which list? One of: {', '.join(LISTS)}")
        return {}
    if args[0] not in LISTS:
        raise unknown("list", args[0], LISTS, "kinelite list --help")
    if args[0] == "models":
        return list_models_verb(args[1:])
    name, words = args[0], args[1:]
    if len(words) > 1 or (words and words[0].startswith("-")):
        raise UsageError(f"'kinelite list {name}' takes one pattern; got {' '.join(words)}.")
    pattern = words[0] if words else "*"
    rows = {row: text for row, text in LISTS[name]().items() if fnmatch(row, pattern)}
    if not rows:
        raise unknown(name.rstrip("s"), pattern, LISTS[name](), f"kinelite list {name}")
    width = max(map(len, rows))
    for row, text in rows.items():
        lines = [text] if isinstance(text, str) else [f"{k}: {v}" if k != "summary" else v for k, v in text.items()]
        print(f"{row:{width}}  " + f"\n{'':{width}}  ".join(lines))
    return {name: rows}


def _datasets() -> Rows:
    from kinelite.data.sets import list_sets

    return {card.spec: card.summary for card in list_sets().values()}


def _recipes() -> Rows:
    from kinelite.recipes import RECIPES, summary, told

    fields = {"cost": "Cost", "published": "Published"}
    return {
        name: {"summary": summary(make)} | {field: told(make, word) for field, word in fields.items()}
        for name, make in RECIPES.items()
    }


def _policies() -> Rows:
    from kinelite.data.augment import POLICIES

    return {name: str(policy) for name, policy in POLICIES.items()}


LISTS: dict[str, Callable[[], Rows]] = {
    "models": dict,  # has flags of its own
    "datasets": _datasets,
    "recipes": _recipes,
    "policies": _policies,
}
