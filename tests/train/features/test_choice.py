"""Online or stored: by what was asked, what cannot be done to features, time and disk."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinelite.config import FeaturesConfig, OptimConfig, Stage, TrainConfig
from kinelite.models import create_model
from kinelite.train.features.choice import Choice, can_be_stored, choose_by_time, choose_early
from kinelite.train.features.room import GIB, Estimate
from kinelite.train.stage import freeze

AUTO = FeaturesConfig(views=4)


def early(epochs: int, features: FeaturesConfig = AUTO, **fields: object) -> Choice | None:
    config = TrainConfig(features=features, **fields)  # pyright: ignore[reportArgumentType]
    return choose_early(config, Stage(epochs=epochs))


@pytest.mark.parametrize("mode", ["online", "stored"])
def test_what_was_asked_for_is_done(mode: str) -> None:
    assert early(1, FeaturesConfig(mode=mode)) == Choice(mode, "as asked")  # pyright: ignore[reportArgumentType]


def test_a_stage_that_would_not_see_all_views_runs_online_without_a_measurement() -> None:
    assert early(4) == Choice("online", "epochs: 4, which is no longer than storing 4 views")
    assert early(5) is None


def test_cutmix_needs_pixels() -> None:
    found = early(30, optim=OptimConfig(cutmix=1.0))
    assert found is not None
    assert found.mode == "online"
    assert "cutmix" in found.reason
    assert early(30, optim=OptimConfig(mixup=1.0)) is None


def test_time_decides() -> None:
    """4 views of 100 clips at 40 + 80 ms: 12 s once, and 3 s in each epoch online."""
    expected = Estimate(GIB, 0.04, 0.08, 100, 0)
    for epochs, mode in ((3, "online"), (4, "online"), (5, "stored"), (30, "stored")):
        found = choose_by_time(AUTO, epochs, expected, 10 * GIB)
        assert found.mode == mode
        assert "about 12 s" in found.reason
        assert f"{epochs} epochs of the encoder: about" in found.reason


def test_several_moments_of_a_tubelet_cost_as_many_encodings() -> None:
    """3 phases: an epoch online encodes a third of a stored view, and decodes as much."""
    asked = replace(AUTO, phases=3)
    expected = Estimate(GIB, 0.0, 0.12, 100, 0)
    assert choose_by_time(asked, 12, expected, 10 * GIB).mode == "online"
    assert choose_by_time(asked, 13, expected, 10 * GIB).mode == "stored"


def test_workers_that_read_beside_the_encoder_count() -> None:
    """Reading 400 ms on two processes hides behind nothing: 200 ms against 80 ms of the encoder, once and online."""
    found = choose_by_time(AUTO, 30, Estimate(GIB, 0.4, 0.08, 100, 1), 10 * GIB)
    assert "about 40 s" in found.reason


@pytest.mark.parametrize(("allowed_gib", "free_gib"), [(0.5, 10.0), (0.0, 0.5), (2.0, 0.5)])
def test_the_disk_decides(allowed_gib: float, free_gib: float) -> None:
    expected = Estimate(GIB, 0.04, 0.08, 100, 0)
    found = choose_by_time(replace(AUTO, max_disk_gib=allowed_gib), 30, expected, int(free_gib * GIB))
    assert found.mode == "online"
    assert found.reason.startswith("the disk has no room")


@pytest.mark.parametrize(
    ("model", "patterns", "can"),
    [
        ("vivit_fe_nano", ("encoder.*",), True),
        ("vivit_fe_nano", ("encoder.blocks.*",), False),
        ("vivit_fe_nano", (), False),
        ("vtn_r50", ("encoder.*",), True),
        ("vtn_r50", ("@backbone",), False),
        ("x3d_xs", ("encoder.*",), False),
    ],
)
def test_only_a_whole_frozen_encoder_of_a_factorised_model_gives_the_same_in_every_epoch(
    model: str, patterns: tuple[str, ...], can: bool
) -> None:
    with torch.device("meta"):
        built = create_model(model, num_classes=2, frames=8, size=64)
    freeze(built, patterns)
    assert can_be_stored(built) is can
