"""Tables of docs/performance.md on models are made of results/zoo: `python tests/test_latency_docs.py` writes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kinelite.records import BenchRecord, from_dict, read_jsonl

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
RECORDS = ROOT / "results" / "zoo"
MARK = re.compile(r"(<!-- results:zoo (\S+) -->\n).*?(<!-- /results:zoo -->)", re.DOTALL)


def records(name: str) -> list[BenchRecord]:
    rows, problems = read_jsonl(RECORDS / f"{name}.jsonl")
    assert not problems
    return [from_dict(BenchRecord, row) for row in rows]


def table(found: list[BenchRecord]) -> str:
    lines = ["| model | beside | clip | ours, ms | theirs, ms | ratio (quartiles) |", "|---|---|---|---|---|---|"]
    for record in found:
        f: dict[str, Any] = record.figures
        quartiles = f"{f['ratio']:.2f} ({f['ratio_low']:.2f}-{f['ratio_high']:.2f})"
        cells = [f"`{record.model}`", f"`{f['peer']}`", f"{record.frames} x {record.size} px"]
        cells += [f"{f['ours_ms']:.1f}", f"{f['theirs_ms']:.1f}", quartiles]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine(found: list[BenchRecord]) -> str:
    """Where and with what; all records of a table have to agree on it."""
    facts = {tuple(r.environment[k] for k in ("cpu", "cores", "torch", "timm", "python")) for r in found}
    threads = {r.figures["threads"] for r in found}
    assert len(facts) == len(threads) == 1
    cpu, cores, torch, timm, python = facts.pop()
    rounds = sorted({r.figures["rounds"] for r in found})
    span = f"{rounds[0]}" if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"
    return (
        f"{cpu}, {cores} cores, {threads.pop()} used; Python {python}, torch {torch}, timm {timm}; fp32, batch "
        f"{found[0].batch}, {span} rounds each."
    )


def written(text: str) -> str:
    def block(match: re.Match[str]) -> str:
        found = records(match[2])
        return f"{match[1]}{table(found)}\n\n{machine(found)}\n{match[3]}"

    return MARK.sub(block, text)


def test_page_is_what_the_records_say() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert MARK.findall(text)
    assert text == written(text), "write it anew: python tests/test_latency_docs.py"


@pytest.mark.parametrize("name", [path.stem for path in RECORDS.glob("*.jsonl")])
def test_records_name_a_peer_that_is_there_and_the_command(name: str) -> None:
    for record in records(name):
        assert record.status == "ok"
        assert (ROOT / "docs/examples/peers" / f"{record.figures['peer']}.py").is_file()
        assert record.command.startswith("python docs/examples/latency_against.py")
        assert record.figures["ratio"] > 0


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
