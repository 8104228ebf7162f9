"""kinelite report PATH..."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from kinelite.cli import parse


@dataclass(frozen=True)
class ReportFlags:
    """One static page from run folders: comparison, curves by epoch and by time, confusion, the worst clips.

    Example: kinelite report runs/conventional runs/sfa --out runs/comparison
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, or folders of run folders."""
    out: Path = Path("runs/report")
    """Folder of the page."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse, read the records, write the page."""
    flags = parse(ReportFlags, "kinelite report", args)
    from kinelite.report.load import find_runs
    from kinelite.report.page import make_report
    from kinelite.report.tables import compare, headline, markdown_table, without_empty

    runs = find_runs(flags.paths)
    page = make_report(flags.paths, flags.out)
    rows = compare(runs)
    print(f"Read {len(runs)} runs (records only, nothing is computed again).")
    print(markdown_table(without_empty(headline(rows))))
    print(f"Page: {page}. Next: open it in a browser.")
    return {"page": str(page), "runs": len(runs), "comparison": rows}
