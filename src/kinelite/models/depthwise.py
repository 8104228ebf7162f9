"""Depthwise 3-D convolution whose backward pass is as fast as its forward pass on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_weight_gradient = torch.ops.aten.convolution_backward


class DepthwiseConv3d(nn.Conv3d):
    """One odd kernel per channel, padded by half of it, any stride in space, none in time, no bias.

    PyTorch's own backward of it takes 20 times as long as its forward on a CPU. Here the gradient of the input is a
    forward pass with the kernel turned round, and that of the weights one fast 2-D gradient per step of time.
    """

    def __init__(self, channels: int, kernel: tuple[int, int, int], stride: int = 1) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        super().__init__(channels, channels, kernel, (1, stride, stride), padding, groups=channels, bias=False)

    def forward(self, input: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h2 w2"]:
        """``h2`` is ``h`` over the stride, rounded up."""
        return self.scaled(input)

    def scaled(
        self,
        video: Float[Tensor, "b c t h w"],
        scale: Float[Tensor, " c"] | None = None,
        shift: Float[Tensor, " c"] | None = None,
    ) -> Float[Tensor, "b c t h2 w2"]:
        """The convolution times ``scale`` plus ``shift``, which costs no pass over the result."""
        weight = self.weight if scale is None else self.weight * scale[:, None, None, None, None]
        if not _pays(video):
            return _convolve(video, weight, shift, int(self.stride[-1]))
        convolved: Any = _Depthwise.apply(video, weight, int(self.stride[-1]))
        return convolved if shift is None else convolved + shift[:, None, None, None]


def depthwise_conv3d(
    video: Float[Tensor, "b c t h w"], weight: Float[Tensor, "c 1 kt kh kw"], stride: int
) -> Float[Tensor, "b c t h2 w2"]:
    """What `DepthwiseConv3d` computes, with a kernel that is made from others."""
    if _pays(video):
        convolved: Any = _Depthwise.apply(video, weight, stride)
        return convolved
    return _convolve(video, weight, None, stride)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, video: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(video, weight)
        ctx.stride = stride
        return _convolve(video, weight, None, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        video, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last_3d)
        wanted = ctx.needs_input_grad
        to_video = _to_video(gradient, weight, ctx.stride, video) if wanted[0] else None
        to_weight = _to_weight(gradient, video, weight, ctx.stride) if wanted[1] else None
        return to_video, to_weight, None


def _convolve(video: Tensor, weight: Tensor, shift: Tensor | None, stride: int) -> Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    if stride == 1 and weight.shape[-1] == weight.shape[-2] == 1:
        # Along time alone the pixels of a frame are one row: the 3-D path would be the slow, general one.
        rows = F.conv2d(_one_row(video), weight[..., 0], shift, 1, padding[:2], groups=len(weight)).permute(0, 2, 3, 1)
        return rows.reshape(*rows.shape[:2], *video.shape[3:], -1).permute(0, 4, 1, 2, 3)
    return F.conv3d(video, weight, shift, (1, stride, stride), padding, groups=len(weight))


def _one_row(video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t hw"]:
    """Permuted first: PyTorch sees channels-last memory by strides, those of a single clip too."""
    rows = video.permute(0, 2, 3, 4, 1)
    return rows.reshape(*rows.shape[:2], -1, rows.shape[-1]).permute(0, 3, 1, 2)


def _to_video(gradient: Tensor, weight: Tensor, stride: int, video: Tensor) -> Tensor:
    if stride > 1:
        spread = torch.zeros_like(video)
        spread[..., ::stride, ::stride] = gradient
        gradient = spread
    return _convolve(gradient, weight.flip(2, 3, 4), None, 1)


def _to_weight(gradient: Tensor, video: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Step ``k`` of the kernel joined frame ``t + k - half`` of the video and frame ``t`` of the result."""
    channels, _, steps, height, width = weight.shape
    if height == width == stride == 1:
        flat = _weight_gradient(
            _one_row(gradient),
            _one_row(video),
            weight[..., 0],
            None,
            [1, 1],
            [steps // 2, 0],
            [1, 1],
            False,
            [0, 0],
            channels,
            [False, True, False],
        )
        return flat[1].unsqueeze(-1)
    half, frames, result = steps // 2, video.shape[2], torch.zeros_like(weight)
    for k in range(steps):
        shift = k - half
        length = frames - abs(shift)
        if length < 1:
            continue
        plane = weight[:, :, k].contiguous()
        for clip, outcome in zip(video, gradient, strict=True):
            seen = clip[:, max(shift, 0) :][:, :length].transpose(0, 1)
            made = outcome[:, max(-shift, 0) :][:, :length].transpose(0, 1)
            padding = [height // 2, width // 2]
            result[:, :, k] += _weight_gradient(
                made, seen, plane, None, [stride] * 2, padding, [1, 1], False, [0, 0], channels, [False, True, False]
            )[1]
    return result


def _pays(video: Tensor) -> bool:
    """Whether the own backward is needed: training in fp32 on a CPU, not when a graph is written down."""
    return (
        video.device.type == "cpu"
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_exporting()
    )
