"""Plans from Python, and rates that are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kinelite as kl
from kinelite.config import FeaturesConfig
from kinelite.data.manifest import Manifest, Row
from kinelite.errors import UsageError
from kinelite.models import create_model
from kinelite.plan.choose import even
from kinelite.plan.clips import count_clips
from kinelite.plan.target import OUTSIDE_GIB, choose_target
from kinelite.train.features.key import make_key
from kinelite.train.features.room import store_bytes

NANO = {"size": 64, "epochs": 30}


@pytest.fixture(autouse=True)
def traces(plan_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINELITE_CACHE", str(plan_cache))


def test_a_plan_has_every_stage_and_parts_that_sum_up() -> None:
    plan = kl.plan("vivit_fe_nano", recipe="sfa", memory_gib=12, **NANO)
    assert [stage.name for stage in plan.stages] == ["short", "long"]
    assert plan.fits
    for stage in plan.stages:
        assert sum(stage.parts_gib.values()) == pytest.approx(stage.peak_memory_gib, abs=0.01)
        assert stage.hours is not None
        assert stage.hours > 0
    found = plan.to_json()
    assert {"frames", "batch", "peak_memory_gib", "max_frames", "max_batch", "parts_gib"} <= set(found["stages"][0])
    assert found["outside_gib"] == OUTSIDE_GIB["cuda"]
    assert found["hours"] == pytest.approx(sum(s["hours"] for s in found["stages"]), abs=0.01)


@pytest.mark.slow  # 20 s of tracing
def test_disk_is_that_of_the_store() -> None:
    features = FeaturesConfig(mode="stored", views=3)
    plan = kl.plan("vivit_fe_nano", memory_gib=12, clips=5000, frames=32, features=features, **NANO)
    assert plan.stages[0].features_gib is None
    rows = tuple(Row(f"{i}.mp4", (0,), "train") for i in range(5000))
    model: Any = create_model("vivit_fe_nano", num_classes=2, frames=32, size=64)
    key = make_key(model, Manifest("m", {"label": ("a", "b")}, rows), net=kl.recipes.sfa().net, views=3)
    assert plan.stages[1].features_gib == pytest.approx(store_bytes(key) / 2**30, abs=0.001)


def test_auto_is_as_many_as_fit() -> None:
    plan = kl.plan("vivit_fe_nano", "conventional", 2, frames=32, batch=400, micro_batch="auto", **NANO)
    (stage,) = plan.stages
    assert stage.fits
    assert 1 <= stage.micro_batch <= stage.max_batch
    assert stage.batch == 400


@pytest.mark.parametrize(("batch", "most", "clips"), [(16, 16, 16), (16, 9, 8), (128, 50, 43), (10, 1, 1), (10, 0, 1)])
def test_passes_are_about_as_large(batch: int, most: int, clips: int) -> None:
    assert even(batch, most) == clips


def test_clips_of_a_set_and_as_published(clip_folder: Path) -> None:
    split = kl.recipes.sfa().split
    assert count_clips(f"folder:{clip_folder}", split).train == 10
    kinetics = count_clips("kinetics400", split)
    assert (kinetics.train, kinetics.classes) == (246_534, (400,))
    assert count_clips("epic100", split).classes == (97, 300)
    given = count_clips("kinetics400", split, 7, 9)
    assert (given.train, given.classes) == (7, (9,))


def test_targets() -> None:
    assert choose_target(gpu_memory="12GiB").limit_bytes == 11 * 2**30
    card = choose_target(gpu="2080 ti")
    assert card.memory_bytes == 11 * 2**30
    assert card.kind == "cuda"
    assert choose_target(cpu_memory="8GiB").kind == "cpu"
    assert choose_target(device="cpu").here
    for wrong in ({"gpu_memory": "1GiB"}, {"gpu_memory": "12GiB", "cpu_memory": "8GiB"}, {"gpu": "voodoo"}):
        with pytest.raises(UsageError):
            choose_target(**wrong)  # pyright: ignore[reportArgumentType]
    assert choose_target(gpu_memory="12GiB", outside="2GiB").limit_bytes == 10 * 2**30


def test_rates_are_measured_once_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path))

    def hours(**more: Any) -> tuple[float | None, str]:
        features = FeaturesConfig(mode="stored")
        plan = kl.plan("vivit_fe_nano", "frozen", cpu_memory_gib=8, frames=4, features=features, **NANO | more)
        return plan.stages[0].hours, plan.stages[0].hours_basis

    assert hours()[0] is None
    took, basis = hours(calibrate=True)
    assert took
    assert "measured: " in basis
    assert hours() == (took, basis)


def test_another_device_cannot_be_measured() -> None:
    with pytest.raises(UsageError, match="--calibrate measures the device of this machine"):
        kl.plan("vivit_fe_nano", memory_gib=12, calibrate=True, **NANO)
