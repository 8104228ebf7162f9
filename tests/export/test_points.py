"""Squeeze-and-excitation blocks without convolutions of single pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from kinelite.export import find
from kinelite.export.points import points_as_vectors
from kinelite.export.quiet import quietly
from kinelite.export.rewrite import rewritten
from kinelite.models.registry import create_model


class Squeezed(nn.Module):
    """A convolution whose channels are weighed by what their means say."""

    def __init__(self, channels: int = 16, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.Conv2d(channels, channels // 2, 1, groups=groups)
        self.up = nn.Conv2d(channels // 2, channels, 1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Means ``[n, c]`` of the weighed channels of frames ``[n, 3, h, w]``."""
        x = self.conv(frames)
        gate = self.up(nn.functional.silu(self.down(x.mean((2, 3), keepdim=True))))
        return (x * gate.sigmoid()).mean((2, 3))


def count(graph: fx.GraphModule, target: str) -> int:
    return sum(str(node.target) == target for node in graph.graph.nodes)


@pytest.mark.parametrize(("size", "groups", "convolutions", "products"), [(8, 1, 1, 2), (8, 2, 2, 1), (1, 1, 1, 2)])
def test_only_what_has_one_pixel_and_one_group_becomes_a_product(
    size: int, groups: int, convolutions: int, products: int
) -> None:
    net, frames = Squeezed(groups=groups).eval(), torch.randn(4, 3, size, size)
    graph = rewritten(net, (frames,))
    points_as_vectors(graph)
    assert count(graph, "aten.conv2d.default") == convolutions
    assert count(graph, "aten.linear.default") == products
    with torch.no_grad():
        torch.testing.assert_close(graph(frames)[0], net(frames))


@pytest.mark.slow
def test_an_efficientnet_computes_in_half_precision(tmp_path: Path) -> None:
    """With convolutions of pixels XNNPACK gives (2, 1, 8, 1) for (2, 8, 1, 1), and the file cannot run."""
    executorch = find("executorch")
    if reason := executorch.missing():
        pytest.skip(reason)
    net, path = create_model("vtn_eff", frames=2, size=64).eval(), tmp_path / "vtn_eff.pte"
    video = torch.randn(1, 3, 2, 64, 64)
    executorch.write(rewritten(net, (video,), executorch.AXES), (video,), path, "{}", "fp16", [])
    with quietly(), torch.no_grad():
        wanted: Any = net(video)
        assert 0 < (executorch.open(path)(video)[0] - wanted).abs().max() < 0.01 * wanted.abs().max()
