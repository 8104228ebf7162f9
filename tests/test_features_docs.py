"""Tables of features once are made of results/features-once: `python tests/test_features_docs.py` writes them."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "results" / "features-once"
SETS = ("motion-32", "motion-128", "ut-interaction-32", "ut-interaction-128")
REPEATS = {
    "ut-interaction-32-repeats": {"online", "stored"},
    "ut-interaction-32-repeats-five-views": {"stored"},
    "ut-interaction-128-repeats": {"online", "stored"},
}
"""File -> the ways in it."""
PAGES = (ROOT / "README.md", ROOT / "docs" / "features.md")
MARK = re.compile(r"(<!-- features-once:(\S+) -->\n).*?(<!-- /features-once -->)", re.DOTALL)


def example() -> ModuleType:
    """The script that measures and prints."""
    spec = importlib.util.spec_from_file_location("features_once", ROOT / "docs" / "examples" / "features_once.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(text: str) -> str:
    """A page with its tables made anew."""
    script = example()

    def block(match: re.Match[str]) -> str:
        path = RECORDS / f"{match[2]}.jsonl"
        if match[2] == "summary":
            lines = script.summary_rows([RECORDS / f"{name}.jsonl" for name in SETS])
        else:
            lines = script.repeats_rows(path) if match[2] in REPEATS else script.rows(path)
        return match[1] + "\n".join(lines) + "\n" + match[3]

    return MARK.sub(block, text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_what_the_records_say(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert MARK.findall(text)
    assert written(text) == text, "python tests/test_features_docs.py"


@pytest.mark.parametrize("name", SETS)
def test_records_are_three_seeds_of_all_ways_on_one_machine(name: str) -> None:
    found = example().read(RECORDS / f"{name}.jsonl")
    assert set(found) == {"conventional", "online", "stored", "short"}
    everything = [record for records in found.values() for record in records]
    assert {record["status"] for record in everything} == {"ok"}
    assert all(sorted(record["seed"] for record in records) == [0, 1, 2] for records in found.values())
    machines = {tuple(record["environment"][key] for key in ("cpu", "cores", "torch")) for record in everything}
    assert len(machines) == 1
    frames = int(name.rpartition("-")[2])
    assert {record["frames"] for record in everything} == {frames}
    assert all(record["curve"][-1][1] == pytest.approx(record["top1"], abs=1e-3) for record in everything)


@pytest.mark.parametrize("name", REPEATS)
def test_repeats_are_four_stages_2_of_each_way_from_each_stage_1_on_one_machine(name: str) -> None:
    found = example().read(RECORDS / f"{name}.jsonl")
    assert set(found) == REPEATS[name]
    for way, records in found.items():
        assert sorted(record["stage1_seed"] for record in records) == [seed for seed in range(6) for _ in range(4)]
        assert len({record["seed"] for record in records}) == 24, "each has a seed of its own"
        assert {record["recipe"] for record in records} == {"sfa_long"}
        assert {record["stages"][0]["features"]["mode"] for record in records} == {way}
    everything = [record for records in found.values() for record in records]
    assert {record["status"] for record in everything} == {"ok"}
    assert len({tuple(record["environment"][key] for key in ("cpu", "cores", "torch")) for record in everything}) == 1


def test_five_views_are_seen_once_each_and_four_three_times() -> None:
    for name, asked in (("ut-interaction-32-repeats", (12, 4)), ("ut-interaction-32-repeats-five-views", (5, 5))):
        stages = [record["stages"][0] for record in example().read(RECORDS / f"{name}.jsonl")["stored"]]
        assert {(stage["epochs"], stage["features"]["views"]) for stage in stages} == {asked}


def test_repeats_are_averaged_within_a_stage_1_and_then_over_them(tmp_path: Path) -> None:
    top1 = {"online": {0: (0.5, 0.7), 4: (0.2, 0.4, 0.6)}, "stored": {0: (0.6, 0.6), 4: (0.3, 0.3, 0.3)}}
    records = [
        {"way": way, "stage1_seed": seed, "top1": value}
        for way, seeds in top1.items()
        for seed, values in seeds.items()
        for value in values
    ]
    path = tmp_path / "repeats.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    head, _, online, stored = example().repeats_rows(path)
    assert head == "| | seed 0 | seed 4 | mean |"
    # Variances of 200 / 2 and 400 / 3: the error of the mean of two means is half the root of their sum.
    assert online.endswith("| 60.0 ± 14.1 % | 40.0 ± 20.0 % | 50.0, error 7.6 % |")
    assert stored.endswith("| 60.0 ± 0.0 % | 30.0 ± 0.0 % | 45.0, error 0.0 % |")


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
