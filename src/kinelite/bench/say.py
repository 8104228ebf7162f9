"""Measurements in a line each."""

from __future__ import annotations

from kinelite.bench.case import Case
from kinelite.records import BenchRecord


def label(case: Case) -> str:
    """What is measured, in a few words."""
    through = ", compiled" if case.compiled else ""
    return f"{case.model} {case.mode} (batch {case.batch}, {case.precision}{through})"


def sentence(record: BenchRecord) -> str:
    """A record in a line."""
    through = ", compiled" if record.compiled else ""
    head = f"{record.model} {record.mode} (batch {record.batch}, {record.precision}{through})"
    if record.status != "ok" or record.latency_ms_median is None:
        return f"{head}: {record.status}: {record.message}"
    memory = "" if record.peak_memory_gib is None else f", {record.peak_memory_gib:.2f} GiB"
    notes = "".join(f"; {note}" for note in record.notes)
    return (
        f"{head}: {record.latency_ms_mean:.1f} ms (median {record.latency_ms_median:.1f}, "
        f"p90 {record.latency_ms_p90:.1f}){memory}{notes}"
    )
