"""Recomputed blocks: the same gradient to the last bit, and nothing kept of what happens inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import kinelite as kl
from kinelite import recipes
from kinelite.config import MemoryConfig, NetConfig
from kinelite.errors import UsageError
from kinelite.models import create_model
from kinelite.models.timesformer import SpaceTimeTransformer
from kinelite.train.recompute import recompute
from kinelite.train.stage import freeze, train_mode

CASES = {
    "vivit_fe_nano": (8, 32, 4),
    "vtn_eff": (2, 32, 3),
    "timesformer": (2, 32, 2),
    "swin3d_t": (2, 32, 12),
    "mvit_s": (2, 64, 16),
}
"""Model -> frames, size, transformer blocks."""


def build(name: str, frames: int, size: int) -> Any:
    torch.manual_seed(0)
    if name == "timesformer":  # the registered ones are of ViT-B's size
        small: Any = {"frames": frames, "size": size, "width": 48, "heads": 3, "depth": 2, "drop_path": 0.3}
        return SpaceTimeTransformer(scheme="divided", **small).train()
    net = NetConfig(drop_path=0.3, dropout=0.2)
    return create_model(name, num_classes=3, frames=frames, size=size, net=net).train()


def gradients(model: Any, video: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(7)
    model(video).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_equal_with_dropout_and_stochastic_depth(name: str) -> None:
    frames, size, blocks = CASES[name]
    plain, spared = build(name, frames, size), build(name, frames, size)
    assert len(recompute(spared, name)) == blocks
    assert list(spared.state_dict()) == list(plain.state_dict())
    video = torch.randn(2, 3, frames, size, size)
    expected = gradients(plain, video)
    found = gradients(spared, video)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def kept_bytes(model: nn.Module, video: Tensor) -> int:
    """Bytes that the backward pass will need, beside the weights."""
    own = {p.data_ptr() for p in model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(video).sum()
    assert loss.requires_grad
    return sum(seen.values())


def test_what_is_kept_shrinks_to_the_input_of_each_block() -> None:
    plain, spared = build("vivit_fe_nano", 8, 64), build("vivit_fe_nano", 8, 64)
    recompute(spared, "vivit_fe_nano")
    video = torch.randn(1, 3, 8, 64, 64)
    tokens = 2 * 17 * 96 * 4
    assert kept_bytes(spared, video) < video.nbytes + 4 * tokens
    assert kept_bytes(plain, video) > video.nbytes + 20 * tokens


def test_blocks_without_gradient_run_once() -> None:
    model = build("vivit_fe_nano", 8, 32)
    counts: dict[str, int] = {}
    for name, module in model.named_modules():
        if hasattr(module, "attn"):
            module.norm1.register_forward_pre_hook(lambda *_, name=name: counts.update({name: counts.get(name, 0) + 1}))
    freeze(model, ["encoder.*"])
    train_mode(model)
    recompute(model, "vivit_fe_nano")
    video = torch.randn(1, 3, 8, 32, 32)
    gradients(model, video)
    assert counts == {"encoder.blocks.0": 1, "encoder.blocks.1": 1, "temporal.blocks.0": 2, "temporal.blocks.1": 2}
    counts.clear()
    with torch.no_grad():
        model(video)
    assert set(counts.values()) == {1}


def test_a_model_without_blocks_is_refused_with_what_saves_memory_there(tmp_path: Path) -> None:
    small: Any = {"data": "motion:80", "frames": 4, "size": 64, "out": tmp_path / "run"}
    config = recipes.conventional(model="x3d_xs", memory=MemoryConfig(recompute=True), **small)
    with pytest.raises(UsageError, match=r"'x3d_xs' has none.*--micro-batch 1"):
        kl.train(config)
