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
