"""All that a page of measurements is made from."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from kinelite.records import BenchRecord
from kinelite.report.benchmark.accuracy import Scores, own_scores, published_scores
from kinelite.report.benchmark.columns import Column, Setting, make_columns
from kinelite.report.benchmark.load import Found
from kinelite.report.load import Run
from kinelite.report.published import published_records

PAPER_MODES = ("train", "batch", "single")
"""Modes of the lightweight paper, whose mean its Figure 6 shows."""


@dataclass(frozen=True)
class Quoted:
    """Published relative latencies and memory of one mode, from one source."""

    mode: str
    label: str
    """Device as the source names it."""
    source: str
    records: dict[str, BenchRecord]
    """Model -> record."""

    @property
    def relative(self) -> dict[str, float]:
        """Model -> latency over that of the fastest."""
        return {m: r.relative_latency for m, r in self.records.items() if r.relative_latency is not None}

    @property
    def memory_gib(self) -> dict[str, float]:
        """Model -> memory, in the source's "G"."""
        return {m: r.peak_memory_gib for m, r in self.records.items() if r.peak_memory_gib is not None}


@dataclass(frozen=True)
class Content:
    """Measured columns, published ones, accuracies, and what could not be read."""

    columns: list[Column]
    quoted: list[Quoted]
    published: list[BenchRecord]
    """All published bench records."""
    own: Scores
    paper: Scores
    epochs: dict[str, dict[str, float]] = field(default_factory=dict)
    """Data set -> model -> epochs until the best validation accuracy of the user's runs."""
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def settings(self) -> list[Setting]:
        """Settings that were measured in, in order."""
        return list(dict.fromkeys(column.setting for column in self.columns))

    def of_mode(self, mode: str) -> list[Column]:
        """Measured columns of a mode."""
        return [column for column in self.columns if column.mode == mode]

    def label(self, setting: Setting) -> str:
        """The name of a setting, without a batch."""
        labels = [column.label for column in self.columns if column.setting == setting]
        return min(labels, key=len).partition(", batch ")[0] if labels else setting.name

    def column(self, setting: Setting, mode: str) -> Column | None:
        """Of the columns of a setting and mode the one with most models."""
        found = [column for column in self.of_mode(mode) if column.setting == setting]
        return max(found, key=lambda column: len(column.entries), default=None)

    def quote(self, mode: str) -> Quoted | None:
        """The published column of a mode with most models."""
        return max((q for q in self.quoted if q.mode == mode), key=lambda q: len(q.records), default=None)

    def overall(self, setting: Setting | None) -> tuple[dict[str, float], list[str]]:
        """Model -> mean relative latency over those of the paper's modes that were measured in ``setting`` (None: as
        published), for models measured in each of them; and these modes."""
        per_mode: dict[str, dict[str, float]] = {}
        for mode in PAPER_MODES:
            column = self.column(setting, mode) if setting else None
            quoted = None if setting else self.quote(mode)
            values = quoted.relative if quoted else relatives(column) if column else {}
            if values:
                per_mode[mode] = values
        if not per_mode:
            return {}, []
        common = set.intersection(*map(set, per_mode.values()))
        first = next(iter(per_mode.values()))
        return {m: statistics.fmean(v[m] for v in per_mode.values()) for m in first if m in common}, list(per_mode)


def relatives(column: Column) -> dict[str, float]:
    """Model -> relative latency in a column, as far as measured."""
    return {m: value for m in column.entries if (value := column.relative(m)) is not None}


def make_content(found: Found, runs: Sequence[Run] = ()) -> Content:
    """Everything that is shown, from the records at the user's paths, his runs, and the published records."""
    quoted_here = [record for record in found.bench if record.published]
    built_in = [record for record in published_records() if isinstance(record, BenchRecord)]
    published = list({_identity(record): record for record in [*built_in, *quoted_here]}.values())
    return Content(
        make_columns(found.bench),
        _quoted(published),
        published,
        own_scores(runs, found.scores),
        published_scores(),
        _epochs(runs),
        found.problems,
        found.left_out,
    )


def _identity(record: BenchRecord) -> str:
    return repr(replace(record, created="", environment={}))


def _quoted(records: Iterable[BenchRecord]) -> list[Quoted]:
    """Published columns of two models and more; what a source says of a single model is a ratio, not a column."""
    groups: dict[tuple[str, str, str], dict[str, BenchRecord]] = {}
    for record in records:
        if record.mode != "convergence" and record.relative_latency is not None:
            key = (
                record.mode,
                record.device or record.device_name or "published",
                record.source or "an unnamed source",
            )
            groups.setdefault(key, {})[record.model] = record
    return [Quoted(*key, models) for key, models in groups.items() if len(models) > 1]


def _epochs(runs: Iterable[Run]) -> dict[str, dict[str, float]]:
    """Where several runs of a model and set were given, their mean."""
    from kinelite.report.benchmark.accuracy import set_name
    from kinelite.report.figures import series

    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        points = series(run.metrics, "eval", "top1", "epoch")
        if run.train is None or run.published or run.train.status != "ok" or not points:
            continue
        best = max(points, key=lambda point: (point[1], -point[0]))[0]
        found.setdefault(set_name(run.train.data), {}).setdefault(run.train.model, []).append(best)
    return {data: {m: statistics.fmean(v) for m, v in models.items()} for data, models in found.items()}
