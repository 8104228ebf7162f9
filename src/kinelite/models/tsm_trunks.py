"""The two image CNNs of TSM, run block by block so that something can happen between frames at the start of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from kinelite.models.conv_norm import conv_norm

Mix = Callable[[Tensor], Tensor]
"""What a residual branch does first: maps ``[n, c, h, w]`` to maps of the same shape."""


@dataclass(frozen=True)
class Trunk:
    """How to run a timm CNN with a `Mix`. The weights stay in timm's module, under timm's names."""

    image: str
    """timm's name of the CNN and its image weights."""
    width: int
    """Features of a frame."""
    maps: Callable[[Any, Tensor, Mix], Tensor]
    """The CNN, frames ``[n, 3, h, w]``, the mix -> last maps ``[n, width, h2, w2]``."""
    sites: Callable[[Any, int], Iterator[tuple[int, int]]]
    """The CNN, height or width of its frames in pixels -> channels, and that side in maps, where it mixes."""


def resnet_maps(encoder: Any, frames: Float[Tensor, "n c h w"], mix: Mix) -> Float[Tensor, "n d h2 w2"]:
    """ResNet with bottleneck blocks; mixes before the first convolution of each residual branch ('blockres')."""
    x = encoder.maxpool(encoder.act1(conv_norm(encoder.conv1, encoder.bn1, frames)))
    for block in _resnet_blocks(encoder):
        skip = x if block.downsample is None else conv_norm(block.downsample[0], block.downsample[1], x)
        y = block.act1(conv_norm(block.conv1, block.bn1, mix(x)))
        y = block.act2(conv_norm(block.conv2, block.bn2, y))
        y = conv_norm(block.conv3, block.bn3, y)
        y += skip
        x = block.act3(y)
    return x


def resnet_sites(encoder: Any, size: int) -> Iterator[tuple[int, int]]:
    """Every block of the four stages, at the size of its input."""
    size = _halved(_halved(size))
    for block in _resnet_blocks(encoder):
        yield block.conv1.in_channels, size
        size = _halved(size) if block.stride == 2 else size


def mobilenet_maps(encoder: Any, frames: Float[Tensor, "n c h w"], mix: Mix) -> Float[Tensor, "n d h2 w2"]:
    """MobileNetV2; mixes in the inverted residuals that have a skip connection."""
    x = conv_norm(encoder.conv_stem, encoder.bn1, frames)
    for block in _mobilenet_blocks(encoder):
        y = mix(x) if _has_shift(block) else x
        if hasattr(block, "conv_pwl"):
            y = conv_norm(block.conv_pw, block.bn1, y)
            y = conv_norm(block.conv_dw, block.bn2, y)
            y = conv_norm(block.conv_pwl, block.bn3, y)
        else:
            y = conv_norm(block.conv_pw, block.bn2, conv_norm(block.conv_dw, block.bn1, y))
        if block.has_skip:
            y += x
        x = y
    return conv_norm(encoder.conv_head, encoder.bn2, x)


def mobilenet_sites(encoder: Any, size: int) -> Iterator[tuple[int, int]]:
    """The ten blocks with a skip connection, at the size of their input."""
    size = _halved(size)
    for block in _mobilenet_blocks(encoder):
        if _has_shift(block):
            yield block.conv_pw.in_channels, size
        size = _halved(size) if block.conv_dw.stride[0] == 2 else size


RESNET50 = Trunk("resnet50.tv_in1k", 2048, resnet_maps, resnet_sites)
MOBILENET_V2 = Trunk("mobilenetv2_100.ra_in1k", 1280, mobilenet_maps, mobilenet_sites)


def _resnet_blocks(encoder: Any) -> Iterator[Any]:
    for stage in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
        yield from stage


def _mobilenet_blocks(encoder: Any) -> Iterator[Any]:
    for stage in encoder.blocks:
        yield from stage


def _has_shift(block: Any) -> bool:
    return block.has_skip and hasattr(block, "conv_pwl")


def _halved(size: int) -> int:
    return (size + 1) // 2
