"""kinelite data check SPEC"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.commands.progress import bar
from kinelite.config import SplitConfig


@dataclass(frozen=True)
class CheckFlags:
    """Find the clips of a set that cannot be used.

    Example: kinelite data check folder:clips/
    """

    spec: Annotated[str, tyro.conf.Positional]
    """Set of clips, such as folder:clips/ or csv:labels.csv."""
    workers: int = 2
    """Threads that decode."""
    split: SplitConfig = field(default_factory=SplitConfig)


def main(args: list[str]) -> dict[str, Any]:
    """Parse and run."""
    return run(parse(CheckFlags, "kinelite data check", args))


def run(flags: CheckFlags) -> dict[str, Any]:
    """Name every clip that cannot be used, and why; exit code 4 when there is one."""
    from kinelite.data.check import check_manifest
    from kinelite.data.sets import load_set

    manifest = load_set(flags.spec, flags.split)
    print(
        f"Checking {len(manifest.rows)} clips of '{flags.spec}' with {flags.workers} threads: "
        "first, middle and last frame."
    )
    with bar("clips checked") as tick:
        problems = check_manifest(manifest, flags.workers, tick)
    for note in manifest.notes:
        print(f"  {note}")
    for problem in problems:
        print(f"{problem.level}: {problem.path}: {problem.reason}")
    errors = [p for p in problems if p.level == "error"]
    notes = len(problems) - len(errors)
    print(
        f"{len(errors)} problems and {notes} notes in {len(manifest.rows)} clips. "
        f"Next: kinelite data stats {flags.spec}"
    )
    rows = [{"path": p.path, "reason": p.reason, "level": p.level} for p in problems]
    return {"clips": len(manifest.rows), "problems": rows, "errors": len(errors), "exit_code": 4 if errors else 0}
