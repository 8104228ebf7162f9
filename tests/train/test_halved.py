"""Frozen weights in half precision: the same products, half the bytes, and fp32 in everything that is saved."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kinelite.config import NetConfig
from kinelite.models import create_model
from kinelite.train.device import place
from kinelite.train.fabric import make_fabric
from kinelite.train.halved import halve_frozen
from kinelite.train.part import halve_frozen_weights
from kinelite.train.stage import freeze, train_mode


def frozen(name: str = "vivit_fe_nano") -> Any:
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, frames=4, size=32, net=NetConfig(drop_path=0.1))
    freeze(model, ["encoder.*"])
    train_mode(model)
    return model


@pytest.mark.parametrize("name", ["vivit_fe_nano", "vtn_r50"])
def test_under_autocast_nothing_changes(name: str) -> None:
    plain, halved = frozen(name), frozen(name)
    saved = halve_frozen(halved, torch.bfloat16)
    video = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(halved.encode(video), plain.encode(video))
    weights = sum(p.numel() * p.element_size() for p in plain.encoder.parameters())
    assert weights * 0.4 < saved <= weights / 2
    left = sum(p.numel() * p.element_size() for p in halved.encoder.parameters())
    assert left == weights - saved


def test_only_what_is_frozen_is_rounded() -> None:
    model = frozen()
    halve_frozen(model, torch.bfloat16)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32 or not parameter.requires_grad, name
    freeze(other := frozen(), ["encoder.blocks.0.*"])
    halve_frozen(other, torch.bfloat16)
    rounded = {name for name, p in other.named_parameters() if p.dtype == torch.bfloat16}
    assert rounded
    assert all(name.startswith("encoder.blocks.0.") for name in rounded)


def test_the_state_keeps_the_weights_as_they_were() -> None:
    plain, halved = frozen().state_dict(), frozen()
    halve_frozen(halved, torch.bfloat16)
    state = halved.state_dict()
    assert list(state) == list(plain)
    assert all(torch.equal(state[name], value) for name, value in plain.items())
    halved.load_state_dict(state)
    assert halved.encoder.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16


def test_a_cpu_keeps_fp32() -> None:
    for precision in ("fp32", "bf16"):
        model = frozen()
        halve_frozen_weights(model, make_fabric(place("cpu", precision)))
        assert {p.dtype for p in model.parameters()} == {torch.float32}
