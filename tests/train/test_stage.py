from __future__ import annotations

import pytest
import torch
from torch import nn

from kinelite.config import NetConfig, OptimConfig
from kinelite.errors import UsageError
from kinelite.models import create_model
from kinelite.train.optim import make_optimizer
from kinelite.train.stage import freeze, train_mode, trained_parameters


@pytest.fixture
def model() -> nn.Module:
    model = create_model("vivit_fe_nano", num_classes=3, frames=4, net=NetConfig(drop_path=0.5, dropout=0.5))
    model.add_adapter()
    return model


def test_what_matches_is_frozen_and_counted(model: nn.Module) -> None:
    frozen = freeze(model, ("encoder.*",))
    assert set(frozen.names) == {n for n, _ in model.named_parameters() if n.startswith("encoder.")}
    assert frozen.counts["encoder.*"] == sum(p.numel() for p in model.encoder.parameters())
    rest = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("encoder."))
    assert trained_parameters(model) == rest
    assert "encoder.*" in str(frozen)


def test_a_later_stage_can_free_what_an_earlier_one_froze(model: nn.Module) -> None:
    freeze(model, ("encoder.*",))
    freeze(model, ())
    assert trained_parameters(model) == sum(p.numel() for p in model.parameters())


def test_a_pattern_that_matches_nothing_is_an_error_with_the_nearest(model: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"encodr.*Nearest: encoder\.\*"):
        freeze(model, ("encodr.*",))


def test_modules_of_a_frozen_part_stay_in_evaluation_mode(model: nn.Module) -> None:
    freeze(model, ("encoder.*",))
    train_mode(model)
    assert not any(m.training for m in model.encoder.modules())
    assert all(m.training for m in model.temporal.modules())
    freeze(model, ("encoder.blocks.0.*",))
    train_mode(model)
    assert not any(m.training for m in model.encoder.blocks[0].modules())
    assert all(m.training for m in model.encoder.blocks[1].modules())


def test_running_statistics_of_a_frozen_norm_stand_still() -> None:
    model = nn.ModuleDict({"encoder": nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), "head": nn.Conv2d(4, 2, 1)})
    freeze(model, ("encoder.*",))
    train_mode(model)
    before = model["encoder"][1].running_mean.clone()
    model["head"](model["encoder"](torch.randn(2, 3, 8, 8) + 5)).sum().backward()
    assert torch.equal(model["encoder"][1].running_mean, before)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_nothing_frozen_moves_while_everything_else_does(model: nn.Module, name: str) -> None:
    """Strong decay and momentum would move a frozen weight even at zero gradient."""
    freeze(model, ("encoder.*",))
    optimizer = make_optimizer(model, OptimConfig(name=name, weight_decay=0.5), lr=0.1)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    train_mode(model)
    torch.manual_seed(0)
    for _ in range(6):  # stochastic depth may leave out a branch for all clips of a step or two
        model(torch.randn(2, 3, 4, 64, 64)).logsumexp(-1).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if not n.startswith("encoder.")}


def test_frozen_encoder_is_deterministic_under_stochastic_depth(model: nn.Module) -> None:
    freeze(model, ("encoder.*",))
    train_mode(model)
    video = torch.randn(1, 3, 4, 64, 64)
    assert torch.equal(model.encode(video), model.encode(video))
