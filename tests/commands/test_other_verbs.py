"""kinelite list, info, report, doctor: what they print and how they fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kinelite.recipes import RECIPES


def test_lists_name_what_there_is(kinelite: Any) -> None:
    models = kinelite("list", "models", "--json").json["models"]
    assert {"vivit_fe_ti", "vivit_fe_nano"} <= set(models)
    assert set(kinelite("list", "models", "vivit_fe_t*", "--json").json["models"]) == {"vivit_fe_ti"}
    assert set(kinelite("list", "recipes", "--json").json["recipes"]) == set(RECIPES)
    assert "folder:ROOT" in " ".join(kinelite("list", "datasets", "--json").json["datasets"])
    assert "lightweight_kinetics" in kinelite("list", "policies").out


def test_unknown_lists_and_patterns(kinelite: Any) -> None:
    kinelite("list", "model").failed(2, "Unknown list 'model'", "models")
    kinelite("list", "models", "vivit_fe_to").failed(2, "vivit_fe_ti")
    kinelite("list").failed(2, "models", "recipes")


def test_models_are_listed_with_what_they_cost_and_what_they_start_from(kinelite: Any) -> None:
    done = kinelite("list", "models", "movinet_a?", "--json")
    facts = done.json["models"]["movinet_a2"]
    assert (facts["params_m"], facts["frames"], facts["size"]) == (pytest.approx(4.84, rel=0.005), 16, 224)
    assert "k600" in facts["pretrained"]
    (line,) = (line for line in done.out.splitlines() if line.startswith("movinet_a2 "))
    assert line.split()[:6] == ["movinet_a2", "4.84", f"{facts['gmacs']:.2f}", "16", "x", "224"]
    assert list(done.json["models"]) == sorted(done.json["models"])


def test_models_are_chosen_by_size_and_weights(kinelite: Any) -> None:
    every = kinelite("list", "models", "--json").json["models"]
    small = kinelite("list", "models", "--max-params", 5, "--max-gmacs", 3, "--json").json["models"]
    assert "movinet_a0" in small
    assert set(small) == {
        name
        for name, facts in every.items()
        if facts["params_m"] and facts["gmacs"] and facts["params_m"] <= 5 and facts["gmacs"] <= 3
    }
    begun = kinelite("list", "models", "--pretrained", "--json").json["models"]
    assert set(begun) == {name for name, facts in every.items() if facts["pretrained"]} < set(every)


def test_no_model_that_small_names_the_smallest(kinelite: Any) -> None:
    done = kinelite("list", "models", "swin3d_?", "--max-params", 1, "--max-gmacs", 1)
    done.failed(2, "named 'swin3d_?'", "28.158 million parameters (swin3d_t)", "43.88 GMACs (swin3d_t)")
    kinelite("list", "models", "--max-gmcas", 2).failed(2, "--max-gmacs")
    kinelite("list", "policies", "--max-gmacs", 2).failed(2, "takes one pattern")
    kinelite("list", "models", "--help").out.index("--max-params")


def test_info_of_a_model_names_its_origin_releases_and_published_scores(kinelite: Any) -> None:
    done = kinelite("info", "swin3d_t", "--json")
    text = " ".join(done.out.split())
    for part in (
        "weights 107.4 MiB in fp32, 53.7 MiB in bf16 or fp16",
        "origin torchvision",
        "difference The lightweight paper",
        "https://download.pytorch.org/models/swin3d_t-7615ae03.pth",
        "published 78.8 % top-1 on kinetics400",
        "43.88 GMACs per clip",
    ):
        assert part in text
    assert done.json["releases"][0]["sha256"] == "7615ae03"
    # Addresses can be copied: they are not broken over lines.
    assert all(release["address"] in done.out for release in done.json["releases"])


@pytest.mark.parametrize(("name", "recipe"), [("tsm_r50", "lightweight"), ("vtn_r50", "sfa"), ("vivit_fe_ti", "sfa")])
def test_info_ends_with_a_recipe_that_works_on_the_model(kinelite: Any, name: str, recipe: str) -> None:
    assert f"Next: kinelite train {recipe} --model {name} " in kinelite("info", name).out


def test_info_takes_a_pattern_that_stands_for_one_model(kinelite: Any) -> None:
    assert kinelite("info", "vivit_fe_n*", "--json").json["name"] == "vivit_fe_nano"
    kinelite("info", "movinet_a*").failed(2, "stands for", "movinet_a0, movinet_a0_stream")
    kinelite("info", "nothing*").failed(2, "Unknown model or set 'nothing*'")


def test_info_counts_a_model_and_an_unknown_one_is_answered_with_the_nearest(kinelite: Any) -> None:
    found = kinelite("info", "vivit_fe_nano", "--json").json
    assert found["params_m"] > 0.1
    assert sum(found["params"].values()) == pytest.approx(found["params_m"] * 1e6)
    kinelite("info", "vivit_fe_tii").failed(2, "Unknown model or set 'vivit_fe_tii'", "vivit_fe_ti")
    kinelite("info").failed(2, "Required options", "kinelite info --help")


def test_report_of_a_run_and_of_nothing(kinelite: Any, run_folder: Path, tmp_path: Path) -> None:
    done = kinelite("report", run_folder, "--out", tmp_path / "page", "--json")
    assert done.code == 0, done.err
    assert done.json["runs"] == 1
    page = Path(done.json["page"]).read_text()
    assert "vivit_fe_nano" in page
    (tmp_path / "empty").mkdir()
    done = kinelite("report", tmp_path / "empty", "--out", tmp_path / "page")
    assert done.code in (2, 4)
    done.failed(done.code, "empty")


def test_doctor_says_what_to_paste(kinelite: Any, tmp_path: Path) -> None:
    done = kinelite("doctor", "--out", tmp_path, "--json")
    assert done.code == (0 if done.json["ok"] else 3)
    assert done.json["environment"]["torch"] in done.out
