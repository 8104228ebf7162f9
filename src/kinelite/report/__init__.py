"""Records to tables, figures and one static page. Reads records and nothing else; never imports torch."""

from __future__ import annotations

from kinelite.report.load import Run, find_runs, load_run
from kinelite.report.page import make_report, render
from kinelite.report.tables import compare, headline, markdown_table

__all__ = ["Run", "compare", "find_runs", "headline", "load_run", "make_report", "markdown_table", "render"]
