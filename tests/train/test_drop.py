"""Patches left out in training: only there, only of encoders that can, the same ones after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import kinelite as kl
from kinelite import recipes
from kinelite.config import NetConfig, Stage
from kinelite.errors import UsageError
from kinelite.models import create_model
from kinelite.train.drop import drop_tokens
from kinelite.train.stage import freeze, train_mode

ENCODERS = ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "eva02_tiny_patch14_224"]
ENCODERS += ["vit_base_patch16_siglip_224", "deit_tiny_distilled_patch16_224"]


def tokens_in_block(model: Any, video: Tensor) -> int:
    """Tokens that the first block of the encoder is given."""
    found = []
    hook = model.encoder.blocks[0].register_forward_pre_hook(lambda _, args: found.append(args[0].shape[1]))
    model(video)
    hook.remove()
    return found[0]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_training_leaves_out_that_share_and_evaluation_none(encoder: str) -> None:
    size = 112
    model: Any = create_model("vivit_fe_ti", num_classes=3, frames=2, size=size, net=NetConfig(encoder=encoder))
    side = size // (14 if "14" in encoder else 16)
    prefix, video = model.encoder.num_prefix_tokens, torch.randn(1, 3, 2, size, size)
    drop_tokens(model, 0.4, "vivit_fe_ti", "short")
    freeze(model, [])
    train_mode(model)
    assert tokens_in_block(model, video) == prefix + int(side**2 * 0.6)
    model.eval()
    assert tokens_in_block(model, video) == prefix + side**2


def test_nothing_is_left_out_where_nothing_was_asked_for() -> None:
    model: Any = create_model("vivit_fe_nano", num_classes=3, frames=4, size=32).train()
    drop_tokens(model, 0.0, "vivit_fe_nano", "short")
    assert tokens_in_block(model, torch.randn(1, 3, 4, 32, 32)) == 1 + 4


def test_other_models_are_refused_with_those_that_can(tmp_path: Path) -> None:
    stages = (Stage("all", drop_tokens=0.5),)
    config = recipes.conventional(data="motion:80", model="timesformer", frames=4, out=tmp_path / "run", stages=stages)
    with pytest.raises(UsageError, match=r"'timesformer' has no vision transformer.*vivit_fe_\*"):
        kl.train(config)


def test_a_frozen_encoder_is_refused(tmp_path: Path) -> None:
    stages = (Stage("long", freeze=("encoder.*",), drop_tokens=0.5),)
    config = recipes.frozen(data="motion:80", model="vivit_fe_nano", frames=4, out=tmp_path / "run", stages=stages)
    with pytest.raises(UsageError, match=r"stage 'long', which freezes the encoder"):
        kl.train(config)
