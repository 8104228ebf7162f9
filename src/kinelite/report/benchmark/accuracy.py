"""Accuracy per data set: of the user's own runs where he has some, else published."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kinelite.records import EvalRecord, TrainRecord
from kinelite.report.benchmark.pareto import normalised_mean
from kinelite.report.load import Run
from kinelite.report.published import published_records

SUMMARY = ("ssv2", "epic100")
"""Data sets whose normalised mean the lightweight paper plots (Figure 6)."""
PAPER_SETS = ("kinetics400", *SUMMARY)
ALIASES = {"k400": "kinetics400", "something_something": "ssv2", "ek100": "epic100", "epic_kitchens": "epic100"}
FEWEST = 2
"""Own models of a set that make a comparison of their own; with fewer the published ones are shown."""


@dataclass(frozen=True)
class Score:
    """Accuracy of one model on one set, shares in [0, 1]."""

    top1: float
    top5: float | None = None
    tasks: dict[str, float] = field(default_factory=dict)
    """Task -> top-1, where a set has several."""
    published: bool = False
    source: str = ""
    message: str = ""
    """What sets it apart from the others."""


Scores = dict[str, dict[str, Score]]
"""Data set -> model -> score."""


def set_name(data: str) -> str:
    """'kinetics400' of 'kinetics400:/data/k400,split=2'; of sets without a name of their own the whole."""
    name, _, root = data.partition(":")
    name = ALIASES.get(name.lower(), name.lower())
    return data if name in ("folder", "csv", "list", "store") and root else name


def published_scores() -> Scores:
    """Table 4 of the lightweight paper."""
    return scores_of(r for r in published_records() if isinstance(r, EvalRecord))


def own_scores(runs: Iterable[Run], records: Iterable[EvalRecord] = ()) -> Scores:
    """Mean top-1 of the user's runs per set and model, evaluation before training record; failed runs take no part."""
    chosen = [record for run in runs if (record := _scored(run)) is not None]
    return scores_of(r for r in [*chosen, *records] if not r.published)


def _scored(run: Run) -> EvalRecord | TrainRecord | None:
    both = [record for record in (run.evaluation, run.train) if record is not None and record.top1 is not None]
    return both[0] if both else None


def scores_of(records: Iterable[EvalRecord | TrainRecord]) -> Scores:
    """Scores of records that have a top-1; several of one model and set are averaged."""
    found: dict[str, dict[str, list[EvalRecord | TrainRecord]]] = {}
    for record in records:
        if record.status == "ok" and record.top1 is not None:
            found.setdefault(set_name(record.data), {}).setdefault(record.model, []).append(record)
    return {data: {model: _mean(group) for model, group in models.items()} for data, models in found.items()}


def _mean(group: Sequence[EvalRecord | TrainRecord]) -> Score:
    first = group[0]
    tasks = first.tasks if isinstance(first, EvalRecord) else {}
    top5 = [record.top5 for record in group if record.top5 is not None]
    return Score(
        statistics.fmean(record.top1 for record in group if record.top1 is not None),
        statistics.fmean(top5) if top5 else None,
        {task: values["top1"] for task, values in tasks.items() if values.get("top1") is not None},
        first.published,
        first.source or (f"{len(group)} own runs" if len(group) > 1 else "own run"),
        first.message,
    )


def summary(scores: Scores) -> dict[str, float]:
    """Model -> the paper's normalised mean over SSv2 and EPIC-Kitchens-100; empty where a set has no figures."""
    sets = [{model: score.top1 for model, score in scores.get(data, {}).items()} for data in SUMMARY]
    return normalised_mean(sets) if all(len(values) >= FEWEST for values in sets) else {}
