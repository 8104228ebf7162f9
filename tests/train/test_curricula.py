"""Lists of stages run to their end, and a run starts from another: what was learnt goes on over more frames, with or
without an adapter, with the same classes or others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

import kinelite as kl
from kinelite.config import NetConfig, TrainConfig
from kinelite.errors import UsageError
from kinelite.models import create_model
from kinelite.models.temporal.positions import resize_temporal_positions
from kinelite.models.weights import read_weights
from kinelite.records import read_jsonl

if TYPE_CHECKING:
    from tests.train.conftest import MakeConfig

POSITIONS = "temporal.positions"


def trained(config: TrainConfig) -> dict[str, Tensor]:
    """The weights that a run ends with."""
    kl.train(config)
    return read_weights(config.out / "model.safetensors")


def equal(a: dict[str, Tensor], b: dict[str, Tensor], part: str) -> bool:
    names = [name for name in a if name.startswith(f"{part}.")]
    assert names
    return all(torch.equal(a[name], b[name]) for name in names)


@pytest.mark.parametrize(
    ("recipe", "frames"),
    [
        ("curriculum_a", [8, 12, 16]),
        ("curriculum_b", [8, 16]),
        ("curriculum_c", [8, 16]),
        ("curriculum_d", [8, 16]),
        ("curriculum_e", [16]),
        ("sfa_short", [8, 16]),
        ("sfa_unfrozen", [8, 16]),
        ("frozen_temporal", [16]),
    ],
)
def test_every_list_of_stages_runs_to_its_end(
    quick: MakeConfig, recipe: str, frames: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    config = quick(recipe, frames=16)
    run = kl.train(config)
    assert run.record.status == "ok"
    rows, _ = read_jsonl(config.out / "metrics.jsonl")
    stages = [row for row in rows if row["event"] == "stage"]
    assert [row["frames"] for row in stages] == frames
    said = capfd.readouterr().err
    for before, after in pairwise(frames):
        assert f"temporal positions interpolated from {before // 4} to {after // 4} tubelets" in said
    assert kl.load(run).spec.frames == 16


def test_positions_are_interpolated_from_stage_to_stage(quick: MakeConfig) -> None:
    # No epochs: what arrives is what was drawn for the first stage, interpolated twice.
    config = quick("curriculum_a", frames=16, epochs=0)
    arrived = trained(config)[POSITIONS]
    torch.manual_seed(config.seed)
    drawn = create_model("vivit_fe_nano", num_classes=2, frames=8, size=32).state_dict()[POSITIONS]
    assert torch.equal(arrived, resize_temporal_positions(resize_temporal_positions(drawn, 3), 4))


def test_the_adapter_goes_on_and_the_encoder_stays_still(quick: MakeConfig, tmp_path: Path) -> None:
    config = quick("curriculum_a", frames=16)
    short, middle, long = config.stages
    first = trained(replace(config, stages=(short,), frames=16, out=tmp_path / "first"))
    second = trained(replace(config, stages=(short, middle), out=tmp_path / "second"))
    third = trained(replace(config, stages=(short, middle, replace(long, epochs=0)), out=tmp_path / "third"))
    assert equal(first, second, "encoder")
    assert not equal(first, second, "head")
    assert second["adapter.fc2.weight"].abs().max() > 0
    assert all(equal(second, third, part) for part in ("encoder", "adapter", "head", "temporal.blocks"))


@pytest.fixture
def three_classes(clip_folder: Path, tmp_path: Path) -> str:
    """A set of other classes than that of ``quick``."""
    root = tmp_path / "three"
    for number, name in enumerate(("one", "two", "three")):
        source = sorted(clip_folder.glob("*/*.mp4"))[4 * number : 4 * number + 4]
        (root / name).mkdir(parents=True)
        for clip in source:
            shutil.copy(clip, root / name)
    return f"folder:{root}"


def test_a_long_stage_starts_from_eight_frames_of_another_set(
    quick: MakeConfig, tmp_path: Path, three_classes: str, capfd: pytest.CaptureFixture[str]
) -> None:
    eight = trained(quick(frames=8, out=tmp_path / "eight"))
    start = quick("sfa_long", frames=16, init=str(tmp_path / "eight"), data=three_classes, out=tmp_path / "long")
    capfd.readouterr()
    long = trained(start)
    said = capfd.readouterr().err
    assert "temporal positions interpolated from 2 to 4 tubelets" in said
    assert "the classifier is new, because the classes differ (2 in the file, 3 here)" in said
    assert equal(eight, long, "encoder")
    assert not equal(eight, long, "temporal.blocks")
    assert long["adapter.fc2.weight"].abs().max() > 0
    assert [len(long[name]) for name in long if name.startswith("head.") and name.endswith("bias")] == [3]


def test_what_a_long_stage_starts_with_is_what_the_run_ended_with(quick: MakeConfig, tmp_path: Path) -> None:
    eight = trained(quick(frames=8, out=tmp_path / "eight"))
    long = trained(quick("sfa_long", frames=16, epochs=0, init=str(tmp_path / "eight"), out=tmp_path / "long"))
    assert all(equal(eight, long, part) for part in ("encoder", "temporal.blocks", "head"))
    assert torch.equal(long[POSITIONS], resize_temporal_positions(eight[POSITIONS], 4))
    assert not long["adapter.fc2.weight"].any(), "a new adapter changes nothing at first"


def test_an_adapter_of_the_run_is_taken_over(quick: MakeConfig, tmp_path: Path) -> None:
    source = trained(quick("frozen", frames=8, out=tmp_path / "source"))
    assert source["adapter.fc2.weight"].abs().max() > 0
    file = str(tmp_path / "source" / "model.safetensors")
    long = trained(quick("sfa_long", frames=16, epochs=0, init=file, out=tmp_path / "long"))
    assert equal(source, long, "adapter")


def test_a_long_stage_needs_a_run(quick: MakeConfig) -> None:
    with pytest.raises(UsageError, match=r"'sfa_long' goes on from a run: --init RUN\. .*kinelite train frozen"):
        kl.train(quick("sfa_long"))


def test_a_run_that_is_not_there_or_not_finished_is_refused(quick: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No trained model at 'nothing': .* --init takes the folder of a finished"):
        kl.train(quick("sfa_long", init="nothing"))
    (tmp_path / "eight" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"The run is unfinished: repeat its train command\."):
        kl.train(quick("sfa_long", init=str(tmp_path / "eight")))


def test_a_run_of_another_model_is_refused(quick: MakeConfig, tmp_path: Path) -> None:
    kl.train(quick(frames=8, out=tmp_path / "eight"))
    other = quick("sfa_long", init=str(tmp_path / "eight"), net=NetConfig(temporal_layers=3), out=tmp_path / "long")
    with pytest.raises(UsageError, match=r"temporal\.blocks\.2"):
        kl.train(other)
    assert not (tmp_path / "long" / "model.safetensors").exists()
