"""kinelite doctor"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinelite.cli import parse


@dataclass(frozen=True)
class DoctorFlags:
    """This machine: devices, decoders, disk, versions; what to paste into a bug report.

    Example: kinelite doctor
    """

    out: Path = Path("runs")
    """Folder that runs will be written to."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse, look, print; exit code 3 when something that Kinelite needs is missing."""
    flags = parse(DoctorFlags, "kinelite doctor", args)
    from kinelite.doctor import diagnose, render

    found = diagnose(flags.out)
    print(render(found))
    return found | {"exit_code": 0 if found["ok"] else 3}
