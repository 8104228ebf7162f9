"""kinelite bench MODEL... | input SPEC"""

from __future__ import annotations

from typing import Any

from kinelite.errors import UsageError

ACTIONS = {"input": "clips per second of reading, and where the time goes, against other libraries in the same run"}


def main(args: list[str]) -> dict[str, Any]:
    """Choose what is measured and run it."""
    if not args or args[0] in ("-h", "--help"):
        lines = "\n".join(f"  kinelite bench {name} ...   {text}" for name, text in ACTIONS.items())
        print(
            "usage:\n  kinelite bench MODEL...   latency, memory and cost of models on a device\n"
            f"{lines}\n\nExample: kinelite bench x3d_xs --modes single\n"
            "Flags: kinelite bench x3d_xs --help, kinelite bench input --help"
        )
        if not args:
            raise UsageError("What is to be measured? kinelite bench MODEL..., or kinelite bench input SPEC")
        return {}
    if args[0] == "input":
        from kinelite.commands import bench_input

        return bench_input.main(args[1:])
    from kinelite.commands import bench_models

    return bench_models.main(args)
