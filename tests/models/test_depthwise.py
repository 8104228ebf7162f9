"""The own backward of depthwise 3-D convolutions against PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator

import jaxtyping
import pytest
import torch
import torch.nn.functional as F

from kinelite.models.depthwise import DepthwiseConv3d, depthwise_conv3d


@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 1, 1), (1, 3, 3), (5, 3, 3), (1, 1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 4, 6, 9), (1, 5, 1, 8), (1, 3, 2, 7)])
def test_equals_pytorch(kernel: tuple[int, int, int], stride: int, shape: tuple[int, int, int, int]) -> None:
    torch.manual_seed(0)
    batch, channels, frames, size = shape
    conv = DepthwiseConv3d(channels, kernel, stride)
    video = torch.randn(batch, channels, frames, size, size + 1, requires_grad=True)
    padding = [k // 2 for k in kernel]
    expected = F.conv3d(video, conv.weight, None, (1, stride, stride), padding, groups=channels)
    result = conv(video)
    torch.testing.assert_close(result, expected)
    upstream = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(result, (video, conv.weight), upstream),
        torch.autograd.grad(expected, (video, conv.weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """The checks of tensor shapes in the test run are no part of the graph that users compile."""
    jaxtyping.config.update("jaxtyping_disable", True)
    torch.compiler.reset()
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
def test_a_compiled_training_step_is_the_same() -> None:
    conv = DepthwiseConv3d(3, (3, 3, 3), stride=2)
    video = torch.randn(1, 3, 2, 6, 6)
    (expected,) = torch.autograd.grad(conv(video).square().sum(), conv.weight)
    compiled = torch.compile(conv, backend="aot_eager", fullgraph=True)
    (found,) = torch.autograd.grad(compiled(video).square().sum(), conv.weight)
    torch.testing.assert_close(found, expected)


def test_only_what_is_wanted_gets_a_gradient() -> None:
    weight = torch.randn(3, 1, 3, 3, 3)
    video = torch.randn(1, 3, 2, 5, 5, requires_grad=True)
    depthwise_conv3d(video, weight, 1).sum().backward()
    assert video.grad is not None
    assert weight.grad is None


def test_scale_and_shift_are_part_of_it() -> None:
    conv = DepthwiseConv3d(3, (3, 3, 3))
    video, scale, shift = torch.randn(2, 3, 4, 5, 5), torch.randn(3), torch.randn(3)
    expected = conv(video) * scale[:, None, None, None] + shift[:, None, None, None]
    torch.testing.assert_close(conv.scaled(video, scale, shift), expected)
    with torch.no_grad():
        torch.testing.assert_close(conv.scaled(video, scale, shift), expected)


def test_mixed_precision_trains() -> None:
    conv = DepthwiseConv3d(4, (3, 3, 3))
    with torch.autocast("cpu", torch.bfloat16):
        result = conv(torch.randn(1, 4, 3, 6, 6))
    result.float().square().sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.dtype == torch.float32
