"""One case, measured in this process: warm-up, calls that count, memory, and what disturbed it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from kinelite.bench.case import Case, Outcome
from kinelite.bench.devices import Ready, Unsupported, find
from kinelite.bench.machine import OTHER_CORES, Watch, state
from kinelite.bench.reference import NoReference, Reference
from kinelite.bench.turns import Sampled, sampled, seconds
from kinelite.records import SHORTENED

WARMUP_SHARE = 0.2
"""Of the time limit that the warm-up may take."""
WIDE = 0.2
"""A spread (p90 - p10 over the median) above which a latency is called unsteady."""


def measure(case: Case) -> Outcome:
    """Measure ``case`` here. What it cannot do and what does not fit into memory is an outcome, not an exception."""
    device = find(case.device)
    missing = device.missing()
    if missing:
        return Outcome("unsupported", missing)
    refused = _refused(case, device.MODES, device.PRECISIONS)
    if refused:
        return Outcome("unsupported", refused)
    try:
        ready = device.prepare(case)
        fields = _called(case, ready)
    except Unsupported as error:
        return Outcome("unsupported", str(error))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return Outcome("oom", f"batch {case.batch} does not fit: {_first_line(error)}")
    return Outcome(fields=fields | ready.facts | {"device_name": device.describe()})


def _refused(case: Case, modes: tuple[str, ...], precisions: tuple[str, ...]) -> str:
    if case.mode not in modes:
        return f"'{case.device}' has no mode '{case.mode}'; it has {', '.join(modes)}"
    if case.precision not in precisions:
        return f"'{case.device}' has no precision '{case.precision}'; it has {', '.join(precisions)}"
    return ""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in main memory."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(sign in text for sign in ("can't allocate memory", "out of memory", "bad_alloc"))
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _called(case: Case, ready: Ready) -> dict[str, Any]:
    """Fields of latency, memory and disturbance."""
    notes: list[str] = []
    ready.reset()
    first_s = seconds(ready.call)
    warmup = 1 + _warm_up(case, ready.call, first_s)
    found, figures = _sampled(case, ready.call, notes)
    samples_ms, other = found.samples_ms, figures["other_cores"]
    if len(samples_ms) < case.runs or warmup < case.warmup:
        notes.append(
            f"{warmup} warm-up calls and {len(samples_ms)} that count instead of {case.warmup} and {case.runs}: "
            f"{SHORTENED} {case.limit_s:g} s"
        )
    fields = latency(samples_ms)
    if other is not None and other > OTHER_CORES:
        notes.append(f"other processes kept {other:.2f} cores busy meanwhile")
    if fields["spread"] > WIDE:
        notes.append(f"unsteady: p90 - p10 is {fields['spread']:.0%} of the median")
    figures |= {"first_call_ms": first_s * 1e3} | _rate(case, fields)
    fields |= {"warmup": warmup, "runs": len(samples_ms), "notes": notes, "figures": figures}
    fields["relative_latency"] = statistics.median(found.ratios) if found.ratios else None
    spent_j = figures.pop("spent_j")
    fields["energy_j"] = None if spent_j is None else spent_j / len(samples_ms)
    return fields | dict(ready.memory())


def _warm_up(case: Case, call: Callable[[], object], first_s: float) -> int:
    """Calls that do not count, after the first one, which compiles and chooses kernels; their number."""
    done, left_s = 0, case.limit_s * WARMUP_SHARE - first_s
    while done < case.warmup - 1 and left_s > 0:
        left_s -= seconds(call)
        done += 1
    return done


def _sampled(case: Case, call: Callable[[], object], notes: list[str]) -> tuple[Sampled, dict[str, Any]]:
    """All calls, in turn with the reference's where there is one, and what the machine did meanwhile."""
    if case.reference not in (None, case.model):
        try:
            with Reference(case) as reference:
                found, figures = _watched(case, call, reference)
            return found, figures | {
                "reference": case.reference,
                "reference_ms": [round(value, 3) for value in found.reference_ms],
                "relative_per_turn": [round(value, 4) for value in found.ratios],
            }
        except NoReference as error:
            notes.append(f"{case.reference} was not called in turn: {error}")
    return _watched(case, call, None)


def _watched(case: Case, call: Callable[[], object], reference: Reference | None) -> tuple[Sampled, dict[str, Any]]:
    before, watch = state(case.device), Watch(case.device)
    found = sampled(call, case.runs, case.limit_s, reference, watch.leaving_out)
    figures = {"other_cores": watch.other_cores(), "spent_j": watch.spent_j(), "before": before}
    return found, figures | {"after": state(case.device)}


def latency(samples_ms: list[float]) -> dict[str, Any]:
    """Mean, median, p10, p90 and spread of samples, and the samples to the microsecond."""
    p10, median, p90 = (float(v) for v in np.percentile(samples_ms, [10, 50, 90]))
    return {
        "latency_ms_mean": float(np.mean(samples_ms)),
        "latency_ms_median": median,
        "latency_ms_p10": p10,
        "latency_ms_p90": p90,
        "spread": (p90 - p10) / median,
        "samples_ms": [round(value, 3) for value in samples_ms],
    }


def _rate(case: Case, fields: dict[str, Any]) -> dict[str, float]:
    """Frames per second of a stream, clips per second of everything else."""
    name = "frames_per_s" if case.mode == "stream" else "clips_per_s"
    return {name: case.batch * 1e3 / fields["latency_ms_mean"]}
