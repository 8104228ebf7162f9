"""Training with other parts over time: started from VideoMAE, frozen, replaced by a probe or a mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import VideoMAEConfig, VideoMAEModel

from kinelite.config import NetConfig, Stage
from kinelite.errors import UsageError
from kinelite.models import save_weights
from kinelite.train.build import build_model
from kinelite.train.run import train

BLOCK = "temporal.blocks.1.mlp.fc1.weight"


@pytest.fixture
def video_mae(tmp_path: Any) -> Any:
    """Three blocks of the width of vivit_fe_nano."""
    size = {"image_size": 32, "num_frames": 4, "hidden_size": 96, "num_attention_heads": 3, "intermediate_size": 384}
    save_weights(tmp_path / "videomae.safetensors", VideoMAEModel(VideoMAEConfig(num_hidden_layers=3, **size)))
    return tmp_path / "videomae.safetensors"


def test_ablation_four_starts_from_videomae(quick: Any, video_mae: Any) -> None:
    config = quick("sfa", temporal_init=str(video_mae), stages=(Stage(freeze=("encoder.*",), adapter=True),))
    model, said = build_model(config.resolved(), config.resolved().stages[0], {"label": 2})
    start = load_file(video_mae)["encoder.layer.2.intermediate.dense.weight"]
    assert torch.equal(model.get_parameter(BLOCK).detach(), start)
    assert "blocks 2 to 3 of 3" in said
    train(config)
    assert not torch.equal(load_file(config.out / "model.safetensors")[BLOCK], start)


def test_ablation_two_leaves_it_as_it_starts(quick: Any, video_mae: Any) -> None:
    config = quick(temporal_init=str(video_mae), stages=(Stage(freeze=("temporal.*",)),))
    train(config)
    start, end = load_file(video_mae), load_file(config.out / "model.safetensors")
    assert torch.equal(end[BLOCK], start["encoder.layer.2.intermediate.dense.weight"])
    model, _ = build_model(config.resolved(), config.resolved().stages[0], {"label": 2})
    moved = {name.split(".")[0] for name, tensor in model.state_dict().items() if not torch.equal(tensor, end[name])}
    assert moved == {"encoder", "head"}


@pytest.mark.parametrize("temporal", ["probe", "mean"])
def test_both_stages_of_sfa_train_with_another_part(quick: Any, temporal: Any) -> None:
    stages = (Stage("short", frames=4), Stage("long", frames=8, freeze=("encoder.*",), adapter=True))
    config = quick("sfa", stages=stages, net=NetConfig(temporal=temporal, pool="both"))
    train(config)
    end = load_file(config.out / "model.safetensors")
    assert end["adapter.fc1.weight"].shape == (192, 192)
    assert any(name.startswith("temporal.") for name in end)


def test_an_empty_name_is_refused(quick: Any) -> None:
    with pytest.raises(UsageError, match="--temporal-init is empty"):
        train(quick(temporal_init=""))
