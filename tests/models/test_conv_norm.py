"""One pass for a convolution and its norm: the same numbers, gradients and statistics as two."""

from __future__ import annotations

from typing import Any, cast

import jaxtyping
import pytest
import torch
from golden import fill
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from kinelite.models.conv_norm import conv_norm


def pair(**options: Any) -> Any:
    layers = nn.Sequential(nn.Conv2d(6, 12, 3, padding=1, **options), nn.BatchNorm2d(12))
    fill(layers)
    return layers.eval()


def maps(size: int = 9) -> Tensor:
    return torch.randn(2, 6, size, size, generator=torch.Generator().manual_seed(0))


def used_norm(layers: Any, x: Tensor) -> bool:
    calls: list[int] = []
    hook = layers[1].register_forward_hook(lambda *_: calls.append(1))
    conv_norm(layers[0], layers[1], x)
    hook.remove()
    return bool(calls)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"stride": 2}, {"groups": 3}, {"dilation": 2}])
def test_numbers_and_gradients_are_those_of_two_layers(options: dict) -> None:
    layers, x = pair(**options), maps(12)
    assert not used_norm(layers, x)
    results = []
    for once in (lambda: conv_norm(layers[0], layers[1], x), lambda: layers(x)):
        layers.zero_grad()
        y = once()
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad.clone() for p in layers.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_activation_of_a_timm_norm_is_kept() -> None:
    conv, norm = pair()[0], cast(nn.BatchNorm2d, BatchNormAct2d(12).eval())
    y = conv_norm(conv, norm, maps())
    assert y.min() == 0
    torch.testing.assert_close(y, norm(conv(maps())))


def test_training_uses_and_updates_the_statistics_of_the_batch() -> None:
    layers = pair().train()
    before = layers[1].running_mean.clone()
    y = conv_norm(layers[0], layers[1], maps())
    assert not torch.equal(layers[1].running_mean, before)
    torch.testing.assert_close(y.mean((0, 2, 3)), layers[1].bias, atol=1e-5, rtol=1e-5)


def test_small_maps_are_not_worth_a_new_kernel() -> None:
    assert used_norm(pair(), maps(5))  # 50 pixels, 54 entries per kernel
    assert not used_norm(pair(), maps(6))
    assert used_norm(pair(stride=2), maps(6))


def test_a_compiler_sees_two_layers() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers: Any = pair()

        def forward(self, x: Tensor) -> Tensor:
            return conv_norm(self.layers[0], self.layers[1], x)

    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        program = torch.export.export(Both().eval(), (maps(),), strict=False)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert any("batch_norm" in str(node.target) for node in program.graph.nodes)
