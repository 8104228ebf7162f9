"""Every registered model's plan against the profiler, by the script that makes docs/plan-accuracy.md."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from kinelite.models import list_models

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "examples" / "plan_accuracy.py"
GOAL = 0.05


def error(limit_gib: float = 15.0, **case: Any) -> float:
    module: dict[str, Any] = runpy.run_path(str(SCRIPT))
    found = module["one"](module["nearest_input"](module["Case"](**case)), limit_gib)
    if found["status"] == "oom":
        pytest.skip(found["message"])
    return found["figures"]["planned_gib"] / found["figures"]["measured_gib"] - 1


@pytest.mark.parametrize(
    "case",
    [
        {"model": "movinet_a0", "mode": "conventional", "frames": 4, "size": 64},
        {"model": "x3d_xs", "mode": "conventional", "frames": 4, "size": 64},
        {"model": "tea_r50", "mode": "inference", "frames": 4, "size": 64},
        {"model": "vtn_eff", "mode": "sfa online", "frames": 4, "size": 64},
        {"model": "vivit_fe_ti", "mode": "sfa stored"},
        {"model": "vivit_fe_ti", "mode": "conventional", "size": 112, "recompute": True, "optimizer": "sgd"},
        {"model": "vivit_fe_nano", "mode": "conventional", "size": 64, "optimizer": "sgd without momentum"},
    ],
    ids=lambda case: f"{case['model']}-{case['mode']}",
)
def test_a_few_small_ones(case: dict[str, Any]) -> None:
    assert abs(error(**{"batch": 2, **case})) < GOAL


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["inference", "conventional"])
@pytest.mark.parametrize("model", list_models())
def test_all_that_fit_into_6_gib(model: str, mode: str) -> None:
    assert abs(error(6.0, model=model, mode=mode, batch=1)) < GOAL
