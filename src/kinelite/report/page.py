"""One static page that needs nothing but itself: figures inline, strips of frames as data, no script, no request."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from kinelite.errors import UsageError
from kinelite.records import now, replace_bytes, version
from kinelite.report import figures, tables
from kinelite.report.benchmark.content import Content, make_content
from kinelite.report.benchmark.load import find_bench, holds_something
from kinelite.report.benchmark.page import PAGE as BENCHMARK_PAGE
from kinelite.report.benchmark.page import write_benchmark
from kinelite.report.load import Run, find_runs

PAGE = "report.html"
UNSAID = {"path": "?", "label": "?", "predicted": "?", "confidence": None, "reason": "?"}
MAX_STRIP_BYTES = 2**21
MAX_RUNS_IN_DETAIL = 12
"""Confusion matrices and worst clips are shown for so many runs, so that the page stays small."""


@dataclass(frozen=True)
class Pages:
    """What was read and written."""

    page: Path
    """The page of the runs, or where there is none that of the measurements."""
    benchmark: Path | None
    """The page of the measurements, where there are any."""
    files: list[Path]
    """Everything that was written."""
    runs: list[Run]
    content: Content | None


def make_report(paths: Iterable[str | Path], out: str | Path) -> Path:
    """Write the page of all runs at ``paths`` (see `find_runs`), and that of the measurements there, and return the
    first page's path.

    ``out`` is a folder (the page is report.html or benchmark.html in it) or a path ending in .html. Raises UsageError
    when there is nothing to report, SetupError when a page cannot be written.
    """
    return make_pages(paths, out).page


def make_pages(paths: Iterable[str | Path], out: str | Path) -> Pages:
    """As `make_report`, with all that was read and written."""
    given = [Path(path) for path in paths]
    measured = {path: found for path in given if holds_something(found := find_bench([path]))}
    try:
        runs = find_runs(given, other=measured)
    except UsageError as error:
        raise UsageError(f"{error}{_left_out(given)}") from error
    found = find_bench(given) if measured else None
    content = make_content(found, runs) if found else None
    page, benchmark = page_names(Path(out), bool(runs), content is not None)
    files = []
    if runs:
        # A name from a file system may hold what UTF-8 cannot.
        other = benchmark.name if benchmark else ""
        replace_bytes(page, render(runs, other).encode(errors="replace"))
        files.append(page)
    if content and benchmark:
        files += write_benchmark(content, benchmark, page.name if runs else "")
    return Pages(page, benchmark, files, runs, content)


def _left_out(paths: Iterable[Path]) -> str:
    said = [text for path in paths for text in find_bench([path]).left_out]
    return f" ({'; '.join(said)})" if said else ""


def page_names(out: Path, runs: bool, benchmark: bool) -> tuple[Path, Path | None]:
    """Path of the first page, and of that of the measurements where there are any (see `make_report`)."""
    html = out.suffix == ".html"
    first = out if html else out / (PAGE if runs else BENCHMARK_PAGE)
    if not benchmark:
        return first, None
    beside = out.with_name(f"{out.stem}-{BENCHMARK_PAGE}") if html else out / BENCHMARK_PAGE
    return first, beside if runs else first


def render(runs: Sequence[Run], benchmark: str = "") -> str:
    """The page as text. ``benchmark`` is the name of a page of measurements to point to."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": lambda v: tables.number(v, 100, 1, " %"), "json": _json}
    environment.filters["duration"] = tables.duration
    files = resources.files("kinelite.report")
    template = environment.from_string(files.joinpath("page.html.j2").read_text("utf-8"))
    style = Markup(files.joinpath("page.css").read_text("utf-8"))
    return template.render(_content(runs) | {"style": style, "benchmark": benchmark})


def _content(runs: Sequence[Run]) -> dict[str, Any]:
    rows = tables.compare(runs)
    evaluated = [run for run in runs if run.evaluation is not None]
    return {
        "title": runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared",
        "created": now(),
        "version": version("kinelite") or "",
        "runs": runs,
        "rows": rows,
        "headline": tables.without_empty(tables.headline(rows)),
        "ratio_to": sorted({row["ratio_to"] for row in rows if row["ratio"] is not None}),
        "curves": _curves(runs),
        "evaluations": tables.without_empty(tables.evaluations(runs)),
        "evaluated": evaluated,
        "class_rows": tables.class_rows(runs),
        "details": [_detail(run) for run in evaluated[:MAX_RUNS_IN_DETAIL]],
        "left_out": len(evaluated) - MAX_RUNS_IN_DETAIL,
        "stages": tables.without_empty(tables.stage_rows(runs)),
        "config_rows": tables.config_rows(runs),
        "environments": tables.environments(runs),
        "memory_kinds": sorted({row["memory_kind"] for row in rows if row["peak_memory_gib"] is not None}),
        "problems": [(run.name, run.problems) for run in runs if run.problems],
    }


def _curves(runs: Sequence[Run]) -> list[Markup]:
    drawn = [draw(runs, by) for draw in (figures.accuracy_figure, figures.loss_figure) for by in ("epoch", "time")]
    return [Markup(svg) for svg in drawn if svg]


def _detail(run: Run) -> dict[str, Any]:
    record = run.evaluation
    assert record is not None
    return {
        "name": run.name,
        "confusion": Markup(figures.confusion_figure(record, run.name)),
        "confused": tables.confused(record),
        "worst": [UNSAID | clip | {"image": _strip(run.path, clip.get("strip"))} for clip in record.worst],
        "skipped": [UNSAID | clip for clip in record.skipped],
    }


def _strip(folder: Path, relative: Any) -> str | None:
    """The JPEG as a data URL; None when it is missing, no JPEG, or outside of the run folder."""
    if not isinstance(relative, str) or not relative:
        return None
    try:
        path = (folder / relative).resolve()
        if not path.is_relative_to(folder.resolve()) or path.stat().st_size > MAX_STRIP_BYTES:
            return None
        content = path.read_bytes()
    except (OSError, ValueError):
        return None
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
