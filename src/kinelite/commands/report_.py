"""kinelite report PATH..."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kinelite.cli import parse

if TYPE_CHECKING:
    from kinelite.report.benchmark.content import Content


@dataclass(frozen=True)
class ReportFlags:
    """Static pages from records: training runs compared (curves by epoch and by time, confusion, the worst clips), and
    measurements of `kinelite bench` (latency, memory, operations and accuracy beside a paper's published figures).

    Example: kinelite report results/bench runs/ --out runs/comparison
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, files of measurements (.jsonl), or folders of either. Several machines and versions go together."""
    out: Path = Path("runs/report")
    """Folder of the pages, and of tables (CSV, Markdown) and figures (SVG, PNG) of measurements."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse, read the records, write the pages."""
    flags = parse(ReportFlags, "kinelite report", args)
    from kinelite.report.page import make_pages
    from kinelite.report.tables import compare, headline, markdown_table, without_empty

    pages = make_pages(flags.paths, flags.out)
    rows = compare(pages.runs)
    if pages.runs:
        print(f"Read {len(pages.runs)} runs (records only, nothing is computed again).")
        print(markdown_table(without_empty(headline(rows))))
    benchmark = _print_benchmark(pages.content) if pages.content else None
    beside = f" and {pages.benchmark}" if pages.runs and pages.benchmark else ""
    print(f"Page: {pages.page}{beside}. Next: open it in a browser.")
    found = {"page": str(pages.page), "runs": len(pages.runs), "comparison": rows}
    return found | ({} if benchmark is None else {"benchmark": {"page": str(pages.benchmark)} | benchmark})


def _print_benchmark(content: Content) -> dict[str, Any]:
    """What was measured, in short, and what is to be known of it."""
    from kinelite.report.benchmark import measured
    from kinelite.report.benchmark.load import MODES
    from kinelite.report.benchmark.tables import to_markdown

    for text in content.problems:
        print(f"warning: {text}", file=sys.stderr)
    rows = measured.measurements(content)
    entries = [entry for column in content.columns for entry in column.entries.values()]
    counts = sum(len(e.measured) for e in entries), sum(len(e.failures) for e in entries)
    print(
        f"Read {counts[0]} measurements and {counts[1]} failures in {len(content.columns)} columns; what is not "
        "comparable stands in columns of its own."
    )
    for mode in MODES:
        table = measured.relative_table(content, mode) if content.of_mode(mode) else None
        if table:
            print(f"\n{to_markdown(table)}")
    repeats = measured.repeats_table(content)
    if repeats:
        print(repeats.about)
    for text in content.left_out:
        print(text)
    return {
        "measurements": rows,
        "columns": [column.label for column in content.columns],
        "repeats": [] if repeats is None else [[name, *(c.text for c in cells)] for name, cells in repeats.rows],
        "problems": list(content.problems),
        "left_out": list(content.left_out),
    }
