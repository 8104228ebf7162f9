"""The models that fit the limits and that no other is better than in everything; a reason for each and each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kinelite.records import SHORTENED
from kinelite.report.benchmark.pareto import dominates
from kinelite.report.recommend.request import Candidate, Figure, Request, Verdict

Read = Callable[[Candidate], Figure | None]
READ: dict[str, Read] = {
    "latency": lambda c: c.latency_ms,
    "memory": lambda c: c.memory_gib,
    "accuracy": lambda c: c.accuracy,
}
WORSE = {"memory": "takes more memory", "accuracy": "is less accurate"}


def choose(candidates: Sequence[Candidate], request: Request) -> list[Verdict]:
    """A verdict for each candidate: chosen ones first, by latency, then the others in the given order.

    The front is over latency, memory and accuracy, as far as they are known of every model within the limits; a model
    whose accuracy is unknown while that of others is known cannot be set beside them.
    """
    excluded = {c.model: reason for c in candidates if (reason := over_limits(c, request))}
    left = [c for c in candidates if c.model not in excluded]
    if any(c.accuracy for c in left):
        for c in (c for c in left if c.accuracy is None):
            excluded[c.model] = f"its accuracy on {request.data} is unknown, so it cannot be set beside the others"
        left = [c for c in left if c.accuracy]
    axes = front_axes(left)
    chosen: list[Verdict] = []
    for candidate in left:
        better = [other for other in left if dominates(_point(other, axes), _point(candidate, axes))]
        if better:
            best = min(better, key=lambda other: _point(other, axes))
            excluded[candidate.model] = f"{best.model} is better: {_compared(best, candidate, axes)}"
        else:
            chosen.append(Verdict(candidate, True, _praise(candidate, left, axes)))
    chosen.sort(key=lambda verdict: _point(verdict.candidate, axes))
    return chosen + [Verdict(c, False, excluded[c.model]) for c in candidates if c.model in excluded]


def relative(candidate: Candidate) -> Figure | None:
    """What stands in for unknown milliseconds."""
    return candidate.relative_latency


def front_axes(candidates: Sequence[Candidate]) -> dict[str, Read]:
    """What all of them are known by. Where milliseconds are missing, published relative latencies stand in."""
    reads = dict(READ)
    if not all(c.latency_ms for c in candidates):
        reads["latency"] = relative
    return {name: read for name, read in reads.items() if candidates and all(read(c) for c in candidates)}


def over_limits(candidate: Candidate, request: Request) -> str:
    """Which limit a model breaks, or cannot be shown to keep; empty for none."""
    if candidate.failed:
        return f"it does not run here ({candidate.failed})"
    checks = [
        _check("latency", candidate.latency_ms, request.max_latency_ms, " ms"),
        _check("memory", candidate.memory_gib, request.max_memory_gib, " GiB"),
        _check("accuracy", candidate.accuracy, request.min_accuracy, " %", 100.0, least=True),
        _check("training time", candidate.train_hours, request.max_train_hours, " h"),
    ]
    doubts = [note for note in candidate.notes if SHORTENED not in note] if checks[0] else []
    return "; ".join([*filter(None, checks), *doubts])


def _check(
    what: str, figure: Figure | None, limit: float | None, unit: str, factor: float = 1.0, least: bool = False
) -> str:
    if limit is None:
        return ""
    if figure is None:
        hint = " (--clips and --epochs say how much training)" if unit == " h" else ""
        return f"{what} unknown, so the limit of {limit * factor:.4g}{unit} cannot be checked{hint}"
    if (figure.value >= limit) if least else (figure.value <= limit):
        return ""
    beyond = "below" if least else "above"
    return f"{what} {figure.value * factor:.4g}{unit} ({figure.basis}) is {beyond} {limit * factor:.4g}{unit}"


def _point(candidate: Candidate, axes: dict[str, Read]) -> tuple[float, ...]:
    """Lower is better."""
    values = []
    for name, read in axes.items():
        figure = read(candidate)
        assert figure is not None
        values.append(-figure.value if name == "accuracy" else figure.value)
    return tuple(values)


def _compared(best: Candidate, other: Candidate, axes: dict[str, Read]) -> str:
    parts = []
    for name, read in axes.items():
        one, two = read(best), read(other)
        assert one is not None
        assert two is not None
        parts.append(f"{_value(name, one, axes)} against {_value(name, two, axes)}")
    return ", ".join(parts)


def _value(name: str, figure: Figure, axes: dict[str, Read]) -> str:
    if name == "latency":
        return f"{figure.value:.2f} x" if axes["latency"] is relative else f"{figure.value:.4g} ms"
    return f"{figure.value:.3g} GiB" if name == "memory" else f"{100 * figure.value:.1f} %"


def _praise(candidate: Candidate, others: Sequence[Candidate], axes: dict[str, Read]) -> str:
    """What it is the best in, or what it lies between."""
    if not axes:
        return "within the limits; nothing that all models are known by tells them apart"
    words = {"latency": "the fastest", "memory": "the least memory", "accuracy": "the most accurate"}
    point = _point(candidate, axes)
    rest = [_point(other, axes) for other in others if other is not candidate]
    best = [words[name] for i, name in enumerate(axes) if all(point[i] < other[i] for other in rest)]
    if best:
        return " and ".join(best) + " within the limits"
    first, *others_axes = axes
    ahead = [other.model for other in others if _point(other, axes)[0] < point[0]]
    if not ahead or not others_axes:
        return "no other is better in everything"
    worse = " or ".join(WORSE[name] for name in others_axes)
    return f"no other is better in everything: what is ahead in {first} ({', '.join(ahead)}) {worse}"
