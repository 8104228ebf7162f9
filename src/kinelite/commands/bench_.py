"""kinelite bench input SPEC"""

from __future__ import annotations

from typing import Any

from kinelite.errors import UsageError, unknown

ACTIONS = {"input": "clips per second of reading, and where the time goes, against other libraries in the same run"}


def main(args: list[str]) -> dict[str, Any]:
    """Choose what is measured and run it."""
    if not args or args[0] in ("-h", "--help"):
        lines = "\n".join(f"  kinelite bench {name} ...   {text}" for name, text in ACTIONS.items())
        print(f"usage:\n{lines}\n\nExample: kinelite bench input folder:clips/")
        if not args:
            raise UsageError("What is to be measured? kinelite bench input SPEC")
        return {}
    if args[0] not in ACTIONS:
        raise unknown("measurement", args[0], ACTIONS, "kinelite bench --help")
    from kinelite.commands import bench_input

    return bench_input.main(args[1:])
