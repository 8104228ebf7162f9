"""kinelite data check|stats|prepare SPEC: each action is a module beside this one, imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from kinelite.errors import UsageError, unknown

ACTIONS = {
    "check": "find clips that cannot be used",
    "stats": "counts, lengths, sizes, codecs, classes; as a table and a picture",
    "prepare": "decode once into small files that are fast to read",
}
"""Action -> what it does; ``kinelite.commands.data_ACTION`` has its flags and ``main(args)``."""


def main(args: list[str]) -> dict[str, Any]:
    """Choose the action and run it."""
    if not args or args[0] in ("-h", "--help"):
        lines = "\n".join(f"  kinelite data {name:7} SPEC   {text}" for name, text in ACTIONS.items())
        print(f"usage:\n{lines}\n\nExample: kinelite data check folder:clips/")
        if not args:
            raise UsageError(f"{', '.join(list(ACTIONS)[:-1])} or {list(ACTIONS)[-1]}? See: kinelite data --help")
        return {}
    if args[0] not in ACTIONS:
        raise unknown("action", args[0], ACTIONS, "kinelite data --help")
    result: dict[str, Any] = importlib.import_module(f"kinelite.commands.data_{args[0]}").main(args[1:])
    return result
