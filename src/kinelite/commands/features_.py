"""kinelite features make|check|export: each action is a module beside this one, imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from kinelite.errors import UsageError, unknown

ACTIONS = {
    "make": ("MODEL --data SPEC --out DIR", "encode all clips once; continues what was begun"),
    "check": ("DIR", "read every record again and name what is damaged"),
    "export": ("DIR --out DIR2", "one file of features, and a list of the clips, for other tools"),
}
"""Action -> its arguments and what it does; ``kinelite.commands.features_ACTION`` has its flags and ``main(args)``."""


def main(args: list[str]) -> dict[str, Any]:
    """Choose the action and run it."""
    if not args or args[0] in ("-h", "--help"):
        lines = "\n".join(f"  kinelite features {name:6} {takes:27}  {text}" for name, (takes, text) in ACTIONS.items())
        print(f"usage:\n{lines}\n\nExample: kinelite features make runs/mine --data folder:clips/ --out features/mine")
        if not args:
            raise UsageError("make, check or export? See: kinelite features --help")
        return {}
    if args[0] not in ACTIONS:
        raise unknown("action", args[0], ACTIONS, "kinelite features --help")
    result: dict[str, Any] = importlib.import_module(f"kinelite.commands.features_{args[0]}").main(args[1:])
    return result
