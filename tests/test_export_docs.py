"""Tables of docs/export.md are made of results/export: `python tests/test_export_docs.py` writes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kinelite.bench.case import LIGHTWEIGHT
from kinelite.export import FORMATS, PRECISIONS
from kinelite.records import BenchRecord, from_dict, read_jsonl

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "export.md"
RECORDS = ROOT / "results" / "export"
MARK = re.compile(r"(<!-- results:export (\S+) -->\n).*?(<!-- /results:export -->)", re.DOTALL)


def records(name: str) -> list[BenchRecord]:
    path = RECORDS / f"{name}.jsonl"
    if not path.is_file():
        return []
    rows, problems = read_jsonl(path)
    assert not problems
    return [from_dict(BenchRecord, row) for row in rows]


def latest(found: list[BenchRecord], *keys: str) -> dict[tuple[Any, ...], BenchRecord]:
    """The last record of each combination."""
    return {tuple(getattr(record, key) for key in keys): record for record in found}


def verified(found: list[BenchRecord]) -> str:
    by = latest(found, "model", "device", "precision")
    head = ["model"]
    for format in FORMATS:
        head += [f"{format} {precision}" for precision in PRECISIONS]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for model in LIGHTWEIGHT:
        cells = [f"`{model}`"]
        for format in FORMATS:
            cells += [_checked(by.get((model, format, precision))) for precision in PRECISIONS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_where(found)])


def _checked(record: BenchRecord | None) -> str:
    if record is None:
        return "not tried"
    if record.status != "ok":
        return f"gap: {record.message}" if record.status == "unsupported" else f"refused: {record.message}"
    f: dict[str, Any] = record.figures
    size = f"{f['size_mib']:.1f} MiB"
    if f["difference"] is None:
        return f"converted, {size}"
    return f"{f['difference'] / f['largest_logit']:.1g}, {size}"


def latency(found: list[BenchRecord]) -> str:
    """A table for each machine: what one measured is not put beside what another did."""
    single = [r for r in found if r.mode == "single"]
    machines = list(dict.fromkeys(str(r.environment.get("platform")) for r in single))
    return "\n\n".join(_timed([r for r in single if r.environment.get("platform") == where]) for where in machines)


def _timed(found: list[BenchRecord]) -> str:
    by = latest(found, "model", "device", "precision")
    columns = sorted({(device, precision) for _, device, precision in by}, key=lambda c: (c[0] != "cpu", c))
    lines = [f"| model | {' | '.join(f'{d} {p}' for d, p in columns)} |", "|---" * (len(columns) + 1) + "|"]
    for model in LIGHTWEIGHT:
        cells = [f"`{model}`"]
        for device, precision in columns:
            record = by.get((model, device, precision))
            median = None if record is None else record.latency_ms_median
            cells.append("not yet" if record is None else record.status if median is None else f"{median:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_where(found)])


def accuracy(found: list[BenchRecord]) -> str:
    lines = ["| model | clips | PyTorch fp32 | file | top-1 of the file |", "|---|---|---|---|---|"]
    for record in found:
        f: dict[str, Any] = record.figures
        file = f"{record.device} {record.precision}, {f['size_mib']:.1f} MiB"
        lines.append(
            f"| `{record.model}` | {f['clips']} of `{record.data}` | {100 * f['top1_before']:.1f} % | {file} | "
            f"{100 * (record.top1 or 0):.1f} % |"
        )
    return "\n".join([*lines, "", *_where(found)])


def _where(found: list[BenchRecord]) -> list[str]:
    """Machine and versions, which all records of a table share."""
    names = ("cpu", "cores", "torch", "onnxruntime", "executorch", "torchao", "coremltools")
    facts = {tuple(r.environment.get(name) for name in names) for r in found}
    lines = []
    for cpu, cores, *versions in sorted(facts, key=str):
        libraries = [f"{name} {v}" for name, v in zip(names[2:], versions, strict=True) if v]
        lines.append(f"{cpu}, {cores} cores; {', '.join(libraries)}.")
    return lines


TABLES = {"verified": verified, "latency": latency, "accuracy": accuracy}


def written(text: str) -> str:
    def block(match: re.Match[str]) -> str:
        found = records(match[2])
        return f"{match[1]}{TABLES[match[2]](found)}\n{match[3]}" if found else f"{match[1]}{match[3]}"

    return MARK.sub(block, text)


def test_page_is_what_the_records_say() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert {name for _, name, _ in MARK.findall(text)} == set(TABLES)
    assert text == written(text), "write it anew: python tests/test_export_docs.py"


def test_every_record_says_what_it_is_of_and_how_it_was_made() -> None:
    for name in TABLES:
        for record in records(name):
            assert record.command
            assert record.environment["torch"]
            assert record.status == "ok" or record.message


@pytest.mark.parametrize("model", LIGHTWEIGHT)
@pytest.mark.parametrize("format", ["onnx", "executorch"])
def test_every_model_was_verified_in_fp32(model: str, format: str) -> None:
    record = latest(records("verified"), "model", "device", "precision")[model, format, "fp32"]
    assert record.status == "ok"
    largest: Any = record.figures["largest_logit"]
    assert record.figures["difference"] <= 1e-3 * min(1.0, largest)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
