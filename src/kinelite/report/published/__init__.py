"""Figures quoted from papers, as records labelled published, each with its source; they ship with the package.

lightweight.jsonl: *Evaluating Transformers for Lightweight Action Recognition* (Koot, Hennerbichler and Lu 2021, arXiv
2111.09641): Table 2 (relative latency, VRAM), Table 4 (accuracy, parameters), Table 5 (epochs to convergence), and the
figures of single models in its text. Its memory is "G" of VRAM; whether 10^9 or 2^30 bytes the paper does not say.
"""

from __future__ import annotations

import functools
import json
from importlib import resources

from kinelite.records import BenchRecord, EvalRecord, from_dict

FILE = "lightweight.jsonl"


@functools.cache
def published_records() -> tuple[BenchRecord | EvalRecord, ...]:
    """All of them, in the order of the paper's tables."""
    text = resources.files("kinelite.report.published").joinpath(FILE).read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(from_dict(BenchRecord, row) if row["kind"] == "bench" else from_dict(EvalRecord, row) for row in rows)


def published_models() -> list[str]:
    """The thirteen models of the lightweight benchmark, the slowest to train first, as in its Table 2."""
    return list(dict.fromkeys(record.model for record in published_records()))


def published_relative(mode: str) -> dict[str, float]:
    """Model -> latency over that of MoViNet-A0, mean of five desktop GPUs (Table 2); mode: train, batch or single."""
    return {r.model: r.relative_latency for r in _table2(mode) if r.relative_latency is not None}


def published_memory_gib(mode: str) -> dict[str, float]:
    """Model -> VRAM of Table 2; mode: train, batch or single."""
    return {r.model: r.peak_memory_gib for r in _table2(mode) if r.peak_memory_gib is not None}


def _table2(mode: str) -> list[BenchRecord]:
    records = (r for r in published_records() if isinstance(r, BenchRecord))
    return [r for r in records if r.mode == mode and (r.source or "").endswith("Table 2")]


def published_epochs() -> dict[str, int]:
    """Model -> epochs to convergence on Something-Something V2 (Table 5)."""
    records = (r for r in published_records() if isinstance(r, BenchRecord))
    return {r.model: int(r.figures["epochs"]) for r in records if r.mode == "convergence"}
