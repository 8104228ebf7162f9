"""The page of measurements with its tables and figures, and the same as CSV, Markdown, SVG and PNG files."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from kinelite.records import now, replace_bytes, version
from kinelite.report.benchmark import compared, measured
from kinelite.report.benchmark.content import Content
from kinelite.report.benchmark.draw import Drawn, draw
from kinelite.report.benchmark.load import MODES
from kinelite.report.benchmark.plots import make_plots
from kinelite.report.benchmark.tables import Table, to_csv, to_markdown

PAGE = "benchmark.html"


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    name: str
    title: str
    tables: Sequence[Table]
    figures: Sequence[Drawn]


def write_benchmark(content: Content, page: Path, other: str = "") -> list[Path]:
    """Write ``page`` and beside it tables/ and figures/; returns all files, the page first.

    ``other`` is the name of a page of training runs to point to. Raises SetupError when something cannot be written.
    """
    sections = make_sections(content)
    written = [page]
    # A name from a file system may hold what UTF-8 cannot.
    replace_bytes(page, render(content, sections, other).encode(errors="replace"))
    contents = {"tables/measurements.csv": _lines(measured.measurements(content))}
    for section in sections:
        for table in section.tables:
            contents[f"tables/{table.name}.csv"] = to_csv(table)
            contents[f"tables/{table.name}.md"] = to_markdown(table)
    images = {
        f"figures/{figure.plot.name}.{kind}": getattr(figure, kind)
        for section in sections
        for figure in section.figures
        for kind in ("svg", "png")
    }
    for name, data in {**{name: text.encode(errors="replace") for name, text in contents.items()}, **images}.items():
        replace_bytes(page.parent / name, data)
        written.append(page.parent / name)
    return written


def make_sections(content: Content) -> list[Section]:
    """Parts with anything in them, in the order of the page."""
    drawn = {plot.name: draw(plot) for plot in make_plots(content)}

    def figures(*begins: str) -> list[Drawn]:
        return [figure for name, figure in drawn.items() if name.startswith(begins)]

    def tables(*made: Table | None) -> list[Table]:
        return [table for table in made if table is not None]

    each = [measured.relative_table, measured.latency_table, measured.memory_table]
    parts = [
        Section(mode, title, tables(*(make(content, mode) for make in each)),
                [drawn[n] for n in (f"relative-{mode}", f"latency-{mode}", f"memory-{mode}") if n in drawn])
        for mode, title in MODES.items()
    ]  # fmt: skip
    parts += [
        Section("accuracy", "Accuracy", tables(compared.accuracy_table(content)), figures("accuracy-", "own-")),
        Section("convergence", "Convergence", tables(compared.convergence_table(content)), figures("latency-epochs")),
        Section("cost", "Operations", tables(compared.cost_table(content)), figures("gmacs-")),
        Section("ratios", "Ratios", tables(compared.ratios_table(content)), []),
        Section("repeats", "Repeats", tables(measured.repeats_table(content)), []),
        Section("failures", "Failures", tables(measured.failures_table(content)), []),
        Section("columns", "Columns", tables(measured.columns_table(content)), []),
    ]
    return [part for part in parts if part.tables or part.figures]


def render(content: Content, sections: Sequence[Section], other: str = "") -> str:
    """The page as text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    own, shared = resources.files("kinelite.report.benchmark"), resources.files("kinelite.report")
    script = own.joinpath("page.js").read_text("utf-8")
    entries = [entry for column in content.columns for entry in column.entries.values()]
    facts: dict[str, Any] = {
        "title": _title(content),
        "created": measured.minutes(now()),
        "version": version("kinelite") or "",
        "measured": sum(len(entry.measured) for entry in entries),
        "failed": sum(len(entry.failures) for entry in entries),
        "summary": _repeats(content),
        "sections": sections,
        "problems": content.problems,
        "left_out": content.left_out,
        "sources": ", ".join(dict.fromkeys((r.source or "?").partition(",")[0] for r in content.published)),
        "other": other,
        "files": "",
        "style": Markup(shared.joinpath("page.css").read_text("utf-8") + own.joinpath("page.css").read_text("utf-8")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return environment.from_string(own.joinpath("page.html.j2").read_text("utf-8")).render(facts)


def _title(content: Content) -> str:
    models = {model for column in content.columns for model in column.entries}
    devices = {setting.device_name for setting in content.settings}
    if not models:
        return "Published benchmark of action recognition models"
    return f"{len(models)} models on {len(devices)} device{'s' * (len(devices) != 1)}"


def _repeats(content: Content) -> str:
    table = measured.repeats_table(content)
    if table is None:
        return "No measurement was repeated."
    widest = table.rows[0][1][-1].text.removesuffix(" !")
    wide = sum(cells[-1].kind == "warn" for _, cells in table.rows)
    said = f"{len(table.rows)} were repeated; relative latencies of two runs lie at most {widest} apart"
    return f"{said}, {wide} of them more than {100 * measured.TOLERANCE:.0f} % and flagged." if wide else f"{said}."


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV, with all columns that any of them has."""
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: os.fspath(v) if isinstance(v, os.PathLike) else v for name, v in row.items()} for row in rows
    )
    return buffer.getvalue()
