"""Tables of records: rows are dicts in column order, numbers first (for programs), then text (for people)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kinelite.config import differences
from kinelite.records import EvalRecord, TrainRecord
from kinelite.report.load import Run

Rows = list[dict[str, Any]]
Number = float | int
NONE = "–"
BASELINE = "conventional"


def group_runs(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that differ only in seed, fold and folder, together; in the order of their first run."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_group_key(run), []).append(run)
    return list(groups.values())


def _group_key(run: Run) -> str:
    record = run.train
    if record is None:
        return run.name
    config = {name: value for name, value in run.config.items() if name not in ("seed", "out")}
    if isinstance(config.get("split"), Mapping):
        config["split"] = {name: value for name, value in config["split"].items() if name != "fold"}
    said = [getattr(record, name) for name in ("recipe", "model", "data", "frames", "size", "epochs", "batch")]
    where = [record.device, record.precision, record.environment.get("cpu"), record.environment.get("cuda")]
    return json.dumps([config, said, where, record.status, record.published, record.source], sort_keys=True)


def compare(runs: Sequence[Run]) -> Rows:
    """One row per group of runs: means over seeds, ``*_sd`` sample standard deviations (None for a single run).

    ``ratio`` is the training time over that of the conventional run on the same data and device, or of the slowest
    run where none is conventional; None where there is nothing to compare with. Published figures take no part.
    """
    rows = [_compare_row(group) for group in group_runs(runs)]
    for row in rows:
        base = _baseline(row, rows)
        row["ratio"] = None if base is None or not base["train_seconds"] else _ratio(row, base)
        row["ratio_to"] = base["recipe"] if base else None
    return rows


def _compare_row(group: list[Run]) -> dict[str, Any]:
    records = [run.train for run in group if run.train]
    first = records[0] if records else TrainRecord(model=_model(group[0]), status="stopped", message="no record.json")
    row: dict[str, Any] = {"recipe": group[0].recipe, "model": first.model, "data": first.data}
    row |= {"runs": [run.name for run in group], "n": len(group)}
    for name in ("top1", "top5"):
        _mean(row, name, [_accuracy(run, name) for run in group])
    for name in ("train_seconds", "peak_memory_gib"):
        _mean(row, name, [getattr(record, name) for record in records])
    row |= {name: getattr(first, name) for name in ("memory_kind", "trained_params", "params", "frames", "size")}
    row |= {"seeds": sorted({r.seed for r in records if r.seed is not None}), "folds": _folds(group)}
    row |= {name: getattr(first, name) for name in ("device", "precision", "status", "message", "published", "source")}
    return row


def _model(run: Run) -> str:
    return run.evaluation.model if run.evaluation else str(run.config.get("model") or "")


def _folds(group: list[Run]) -> list[int]:
    splits = [run.config.get("split") for run in group]
    return sorted({s.get("fold", 0) for s in splits if isinstance(s, Mapping) and s.get("folds")})


def _accuracy(run: Run, name: str) -> Number | None:
    value = getattr(run.train, name, None)
    return getattr(run.evaluation, name, None) if value is None else value


def _mean(row: dict[str, Any], name: str, values: Iterable[Number | None]) -> None:
    known = [value for value in values if value is not None]
    row[name] = statistics.fmean(known) if known else None
    row[f"{name}_sd"] = statistics.stdev(known) if len(known) > 1 else None


def _baseline(row: dict[str, Any], rows: Rows) -> dict[str, Any] | None:
    if row["published"] or row["status"] != "ok":
        return None
    peers = [r for r in rows if r["status"] == "ok" and not r["published"] and r["train_seconds"]]
    peers = [r for r in peers if (r["data"], r["device"]) == (row["data"], row["device"])]
    if len(peers) < 2:
        return None
    peers = [r for r in peers if r["recipe"] == BASELINE] or peers
    return max(peers, key=lambda r: r["train_seconds"], default=None)


def _ratio(row: dict[str, Any], base: dict[str, Any]) -> Number | None:
    return None if row["train_seconds"] is None else row["train_seconds"] / base["train_seconds"]


def headline(rows: Rows) -> list[dict[str, str]]:
    """The rows of `compare` as text for the page and the README."""
    return [
        {
            "Recipe": row["recipe"] + (" (published)" if row["published"] else ""),
            "Model": row["model"],
            "Top-1": spread(row["top1"], row["top1_sd"], 100, 1, " %"),
            "Top-5": spread(row["top5"], row["top5_sd"], 100, 1, " %"),
            "Training time": duration(row["train_seconds"], row["train_seconds_sd"]),
            "Ratio": number(row["ratio"], 1, 2, "×"),
            "Peak memory": spread(row["peak_memory_gib"], row["peak_memory_gib_sd"], 1, 2, " GiB"),
            "Trained parameters": parameters(row["trained_params"], row["params"]),
            "Frames": NONE if row["frames"] is None else str(row["frames"]),
            "Runs": _repeats(row),
            "Device": " ".join(filter(None, (row["device"], row["precision"]))) or NONE,
            "Status": "published" if row["published"] else row["status"],
        }
        for row in rows
    ]


def without_empty(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The rows without columns that say nothing: only dashes, or every status ok."""
    said = {name for row in rows for name, text in row.items() if text != NONE and (name, text) != ("Status", "ok")}
    return [{name: text for name, text in row.items() if name in said} for row in rows]


def _repeats(row: dict[str, Any]) -> str:
    named = [(word, row[word]) for word in ("seeds", "folds") if row[word]]
    said = [f"{word[:-1] if len(values) == 1 else word} {', '.join(map(str, values))}" for word, values in named]
    return "; ".join([str(row["n"]), *said])


def number(value: Number | None, factor: Number, digits: int, unit: str = "") -> str:
    """``value`` times ``factor`` with its unit; a dash when there is none."""
    return NONE if value is None else f"{value * factor:.{digits}f}{unit}"


def spread(mean: Number | None, sd: Number | None, factor: Number, digits: int, unit: str = "") -> str:
    """Mean with its unit, and the standard deviation when there is one."""
    if mean is None or sd is None:
        return number(mean, factor, digits, unit)
    return f"{mean * factor:.{digits}f} ± {sd * factor:.{digits}f}{unit}"


def duration(seconds: Number | None, sd: Number | None = None) -> str:
    """Seconds as s, min or h, whichever reads best."""
    if seconds is None:
        return NONE
    if seconds >= 2 * 3600:
        return spread(seconds, sd, 1 / 3600, 1, " h")
    if seconds >= 20 * 60:
        return spread(seconds, sd, 1 / 60, 1, " min")
    return spread(seconds, sd, 1, 1 if seconds < 10 else 0, " s")


def parameters(trained: int | None, total: int | None) -> str:
    """'0.9 M of 6.4 M'."""
    if trained is None:
        return NONE if total is None else f"of {total / 1e6:.1f} M"
    return f"{trained / 1e6:.1f} M" + ("" if total is None else f" of {total / 1e6:.1f} M")


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with the columns of the first row; empty text for no rows."""
    if not rows:
        return ""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(c)) for c in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    text = NONE if value is None else str(value)
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def evaluations(runs: Iterable[Run]) -> list[dict[str, str]]:
    """One row per evaluated run, tasks below it."""
    rows = []
    for run in runs:
        if run.evaluation is None:
            continue
        record = run.evaluation
        rows.append(
            {"Run": run.name, "Clips": f"{record.split} {record.clips}".strip() or NONE} | _scores(vars(record))
        )
        for task, values in record.tasks.items():
            rows.append({"Run": f"{run.name}: {task}", "Clips": str(values.get("clips") or NONE)} | _scores(values))
    return rows


def _scores(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Views": str(values.get("views") or NONE),
        "Top-1": number(values.get("top1"), 100, 1, " %"),
        "Top-5": number(values.get("top5"), 100, 1, " %"),
        "Calibration error": number(values.get("ece"), 100, 1, " %"),
        "Loss": number(values.get("loss"), 1, 3),
    }


def class_rows(runs: Sequence[Run]) -> Rows:
    """One row per class: name, clips, and top-1 per run (None: not scored), in the order of ``runs``."""
    evaluated = [run.evaluation for run in runs if run.evaluation]
    names = dict.fromkeys(name for record in evaluated for name in [*record.classes, *record.per_class])
    rows = []
    for name in names:
        found = [record.per_class.get(name) or {} for record in evaluated]
        clips = next((f["clips"] for f in found if f.get("clips") is not None), None)
        rows.append({"class": name, "clips": clips, "top1": [f.get("top1") for f in found]})
    return rows


def confused(record: EvalRecord, limit: int = 8) -> Rows:
    """The pairs of classes that were most often taken for each other: label, predicted, clips, share of the label."""
    pairs = []
    for i, line in enumerate(record.confusion):
        for j, count in enumerate(line):
            if i != j and count:
                pairs.append((count, count / sum(line), _name(record, i), _name(record, j)))
    pairs.sort(key=lambda pair: (-pair[0], -pair[1], pair[2], pair[3]))
    return [{"label": a, "predicted": b, "clips": n, "share": share} for n, share, a, b in pairs[:limit]]


def _name(record: EvalRecord, index: int) -> str:
    return record.classes[index] if index < len(record.classes) else str(index)


def stage_rows(runs: Iterable[Run]) -> list[dict[str, str]]:
    """One row per stage of each run."""
    return [
        {
            "Run": run.name,
            "Stage": str(stage.get("name", i)),
            "Frames": str(stage.get("frames", NONE)),
            "Epochs": str(stage.get("epochs", NONE)),
            "Time": duration(stage.get("seconds")),
            "Top-1": number(stage.get("top1"), 100, 1, " %"),
            "Peak memory": number(stage.get("peak_memory_gib"), 1, 2, " GiB"),
            "Trained": parameters(stage.get("trained_params"), None),
            "Frozen": ", ".join(map(str, stage.get("froze") or ())) or "nothing",
        }
        for run in runs
        for i, stage in enumerate(run.train.stages if run.train else ())
    ]


def config_rows(runs: Sequence[Run]) -> list[dict[str, str]]:
    """One row per dotted setting whose value differs between groups of runs, one column per group; seed and folder
    left out."""
    groups = [group for group in group_runs(runs) if group[0].config]
    configs = [{k: v for k, v in group[0].config.items() if k not in ("seed", "out")} for group in groups]
    found = [differences(configs[0], other) for other in configs[1:]]
    rows = []
    for name in dict.fromkeys(name for pairs in found for name in pairs):
        first = next(pairs[name][0] for pairs in found if name in pairs)
        values = [first, *(pairs[name][1] if name in pairs else first for pairs in found)]
        columns = (", ".join(run.name for run in group) for group in groups)
        rows.append(
            {"Setting": name} | {c: NONE if v is None else str(v) for c, v in zip(columns, values, strict=True)}
        )
    return rows


def environments(runs: Iterable[Run]) -> list[tuple[list[str], dict[str, Any]]]:
    """(names of the runs, their environment) for each different environment."""
    found: list[tuple[list[str], dict[str, Any]]] = []
    for run in runs:
        record = run.train or run.evaluation
        known = {name: value for name, value in (record.environment if record else {}).items() if value is not None}
        names = next((names for names, other in found if other == known), None)
        if names is not None:
            names.append(run.name)
        elif known:
            found.append(([run.name], known))
    return found
