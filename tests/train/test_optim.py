from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from kinelite.config import NetConfig, OptimConfig
from kinelite.models import create_model
from kinelite.train.optim import Ema, Schedule, fuses, make_optimizer, parameter_groups, set_lr


@pytest.fixture
def model() -> nn.Module:
    return create_model("vivit_fe_nano", num_classes=3, frames=4, net=NetConfig())


def test_every_training_parameter_is_in_exactly_one_group(model: nn.Module) -> None:
    groups = parameter_groups(model, OptimConfig(layer_decay=0.75))
    found = [id(p) for g in groups for p in g["params"]]
    assert sorted(found) == sorted(id(p) for p in model.parameters())


def test_only_matrices_decay(model: nn.Module) -> None:
    names = {id(p): n for n, p in model.named_parameters()}
    for group in parameter_groups(model, OptimConfig(weight_decay=0.1)):
        for p in group["params"]:
            offset = p.ndim < 2 or names[id(p)].endswith(("pos_embed", "cls_token", "positions", ".cls"))
            assert group["weight_decay"] == (0.0 if offset else 0.1), names[id(p)]


def test_layer_decay_falls_from_head_to_patches(model: nn.Module) -> None:
    groups = parameter_groups(model, OptimConfig(layer_decay=0.5))
    scale = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    by_name = {n: scale[id(p)] for n, p in model.named_parameters()}
    assert by_name["head.label.weight"] == 1.0
    assert by_name["temporal.blocks.0.attn.qkv.weight"] == 1.0
    depth = len(model.encoder.blocks)
    blocks = [by_name[f"encoder.blocks.{i}.attn.qkv.weight"] for i in range(depth)]
    assert blocks == [0.5 ** (depth - i) for i in range(depth)]
    assert by_name["encoder.patch_embed.proj.weight"] == 0.5 ** (depth + 1)


def test_learned_queries_are_offsets_and_attention_pooling_is_above_the_blocks() -> None:
    with torch.device("meta"):
        siglip = create_model("vivit_fe:vit_base_patch16_siglip_224", frames=4, net=NetConfig(temporal="probe"))
    config = OptimConfig(layer_decay=0.5, weight_decay=0.1)
    found = {id(p): (g["lr_scale"], g["weight_decay"]) for g in parameter_groups(siglip, config) for p in g["params"]}
    assert found[id(siglip.get_parameter("temporal.query"))] == (1.0, 0.0)
    assert found[id(siglip.get_parameter("encoder.attn_pool.latent"))] == (0.5, 0.0)
    assert found[id(siglip.get_parameter("encoder.attn_pool.q.weight"))] == (0.5, 0.1)


def test_frozen_parameters_have_no_optimiser_state(model: nn.Module) -> None:
    model.encoder.requires_grad_(False)
    optimizer = make_optimizer(model, OptimConfig(), 1e-3)
    given = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert not given & {id(p) for p in model.encoder.parameters()}


def test_cosine_warms_up_linearly_and_ends_near_zero() -> None:
    schedule = Schedule(OptimConfig(schedule="cosine", warmup_epochs=2.0), lr=1.0, steps=100, steps_per_epoch=5)
    rates = [schedule.at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert max(rates) == rates[10] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert schedule.at(55) == pytest.approx(0.5)
    assert rates[-1] < 0.001


def test_plateau_waits_as_long_as_told_then_multiplies() -> None:
    config = OptimConfig(schedule="plateau", warmup_epochs=0.0, plateau_patience=2, plateau_factor=0.1)
    schedule = Schedule(config, lr=1.0, steps=100, steps_per_epoch=10)
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    torch_plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(reference, "max", factor=0.1, patience=2, threshold=0.0)
    for score in (0.1, 0.3, 0.2, 0.3, 0.1, 0.2, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1):
        schedule.observe(score)
        torch_plateau.step(score)
        assert schedule.at(50) == pytest.approx(reference.param_groups[0]["lr"])


def test_schedule_state_survives_a_round_trip_before_and_after_the_first_score() -> None:
    config = OptimConfig(schedule="plateau")
    for scores in ((), (0.5, 0.4, 0.4)):
        a, b = Schedule(config, 1.0, 10, 5), Schedule(config, 1.0, 10, 5)
        for score in scores:
            a.observe(score)
        b.load(a.state())
        assert (b.best, b.waited, b.factor) == (a.best, a.waited, a.factor)
        assert all(math.isfinite(v) for v in a.state().values())


def test_rate_of_a_group_is_scaled() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([{"params": layer.parameters(), "lr_scale": 0.25}], lr=1.0)
    set_lr(optimizer, 0.4)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_ema_follows_its_formula_and_swaps_both_ways() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    ema = Ema(layer, decay=0.9)
    with torch.no_grad():
        layer.weight.fill_(3.0)
    ema.update()
    assert ema.average["weight"].item() == pytest.approx(0.9 * 1 + 0.1 * 3)
    ema.swap()
    assert layer.weight.item() == pytest.approx(1.2)
    assert ema.average["weight"].item() == pytest.approx(3.0)
    ema.swap()
    assert layer.weight.item() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("device", "scales_loss", "expected"),
    [("cuda", False, True), ("cuda", True, False), ("cpu", False, True), ("mps", False, False)],
)
def test_where_the_optimiser_is_one_kernel(device: str, scales_loss: bool, expected: bool) -> None:
    assert fuses(device, scales_loss) is expected


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_one_kernel_makes_the_same_steps(name: str) -> None:
    config, results = OptimConfig(name, weight_decay=0.1), []  # pyright: ignore[reportArgumentType]
    for fused in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(8, 8)
        optimizer = make_optimizer(model, config, 0.1, fused=fused)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 8)).square().sum().backward()
            optimizer.step()
        results.append(model.weight.detach())
    assert torch.allclose(*results, atol=1e-6)
