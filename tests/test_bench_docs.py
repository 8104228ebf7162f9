"""Tables of docs/bench.md are made of results/bench: `python tests/test_bench_docs.py` writes them."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from kinelite.bench.case import LIGHTWEIGHT
from kinelite.records import BenchRecord, from_dict, read_jsonl
from kinelite.report.benchmark.columns import TOLERANCE, apart, make_columns

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "bench.md"
RECORDS = ROOT / "results" / "bench"
MARK = re.compile(r"(<!-- results:bench (\S+) -->\n).*?(<!-- /results:bench -->)", re.DOTALL)
MODES, PRECISIONS = ("train", "batch", "single"), ("fp32", "bf16")
MODELS = (*LIGHTWEIGHT, "vivit_fe_b")
FILES = ("epyc-2-cores", "epyc-avx2", "epyc-avx2-again")
"""One run each: on a processor with AVX-512, and twice on a machine without."""
Key = tuple[str, str, str]


@functools.cache
def runs() -> list[dict[Key, BenchRecord]]:
    """Of each file model, mode, precision -> its record."""
    found = []
    for name in FILES:
        rows, problems = read_jsonl(RECORDS / f"{name}.jsonl")
        assert not problems
        records = [from_dict(BenchRecord, row) for row in rows]
        found.append({(r.model, r.mode or "", r.precision or ""): r for r in records})
    return found


def median(run: dict[Key, BenchRecord], key: Key) -> float | None:
    """Milliseconds of a call, None where the file has none."""
    return run[key].latency_ms_median if key in run else None


def rounded(value: float | None) -> str:
    assert value is not None
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def latency() -> str:
    """Median milliseconds of a call of each model, mode and precision, and the peak of a training step's memory."""
    first, *_ = runs()
    columns = [(mode, precision) for mode in MODES for precision in PRECISIONS]
    head = [f"{mode} {precision}" for mode, precision in columns]
    lines = [f"| model | GMACs | {' | '.join(head)} | memory, train fp32 |", "|---" * (len(columns) + 3) + "|"]
    for model in MODELS:
        cells = [f"`{model}`", f"{first[model, 'single', 'fp32'].gmacs:.4g}"]
        cells += [rounded(median(first, (model, *column))) for column in columns]
        cells += [f"{first[model, 'train', 'fp32'].tensors_gib:.2f} GiB"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def repeats() -> str:
    """How far relative latencies of two runs lie apart, those flagged that differ by more than a tenth."""
    lines = ["| mode | measured twice | apart by more than 10 % |", "|---|---|---|"]
    for mode in MODES:
        for precision in PRECISIONS:
            found = differences(mode, precision)
            wide = [f"`{model}` {100 * value:.0f} %" for model, value in found.items() if value > TOLERANCE]
            if found:
                lines.append(f"| {mode} {precision} | {len(found)} models | {', '.join(wide) or 'none'} |")
    return "\n".join(lines)


def differences(mode: str, precision: str) -> dict[str, float]:
    """Model -> difference of its latency over MoViNet-A0's between two runs, over the smaller."""
    records = [record for run in runs() for record in run.values()]
    columns = [c for c in make_columns(records) if (c.mode, c.setting.precision) == (mode, precision)]
    found = {model: apart(column.repeats(model)) for column in columns for model in MODELS}
    return {model: value for model, value in found.items() if value is not None}


TABLES = {"latency": latency, "repeats": repeats}


def written(text: str) -> str:
    return MARK.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}", text)


def test_page_is_what_the_records_say() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert {name for _, name, _ in MARK.findall(text)} == set(TABLES)
    assert text == written(text), "write it anew: python tests/test_bench_docs.py"


@pytest.mark.parametrize("model", MODELS)
def test_every_model_was_measured_in_every_mode(model: str) -> None:
    first, other, again = runs()
    for mode in MODES:
        for precision in PRECISIONS:
            record = first[model, mode, precision]
            assert record.status == "ok", (mode, precision, record.message)
            assert record.command
            assert record.environment["torch"]
        assert other[model, mode, "fp32"].status == "ok"
        assert mode == "train" or again[model, mode, "fp32"].status == "ok"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
