"""Non-local networks (1711.07971) over a plain ResNet-50: attention over all positions of all frames between blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.models.checkpoints.nonlocal_net import LAYOUTS
from kinelite.models.cnn import build_cnn
from kinelite.models.encoder import without_classifier
from kinelite.models.frames import frames_of
from kinelite.models.head import FrameHead, Head
from kinelite.models.model import VideoModel
from kinelite.models.registry import Order, Release, Score, register
from kinelite.types import GREY_MEAN, GREY_STD, InputSpec

PAPER = "Non-local Neural Networks, arXiv 1711.07971"
IMAGE = "resnet50.tv_in1k"
ORIGIN = "ResNet-50: timm. Non-local blocks: written here, because no installable library has them"
C2D = InputSpec(8, 224, GREY_MEAN, GREY_STD, "dense", 8, "crop")
C2D_SITES = ("layer2_1", "layer2_3", "layer3_1", "layer3_3", "layer3_5")
SMALLEST = {1: 17, 0: 21}
"""Padding of the stem's pooling -> pixels: below, the third stage is one position wide, and pooling the keys leaves
none."""


@dataclass(frozen=True)
class Plan:
    """Where published non-local ResNets differ."""

    sites: tuple[str, ...]
    """Blocks of the ResNet that a non-local block follows."""
    pool_first: bool
    """Whether the input is pooled, and keys and values made from that, or keys and values are made, then pooled."""
    scaled: bool
    """Whether similarities are divided by the root of the width before the softmax."""
    halved: bool
    """Whether each pair of frames becomes one after the first stage; features are then one vector per clip."""
    stem_padding: int = 1
    """Of the max pooling after the first convolution, in pixels."""


class NonLocal(nn.Module):
    """Embedded Gaussian non-local block, added to its input (1711.07971, section 3.3).

    Queries from all positions of a clip, keys and values from 2 x 2 spatial max pooling. The last gain starts at 0,
    so that the block starts as the identity.
    """

    def __init__(self, width: int, *, pool_first: bool, scaled: bool) -> None:
        super().__init__()
        inner = width // 2
        self.theta = nn.Conv2d(width, inner, 1)
        self.phi = nn.Conv2d(width, inner, 1)
        self.g = nn.Conv2d(width, inner, 1)
        self.out = nn.Conv2d(inner, width, 1)
        self.norm = nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm.weight)
        self.pool_first = pool_first
        self.scale = inner**-0.5 if scaled else 1.0

    def forward(self, x: Float[Tensor, "n c h w"], clips: int) -> Float[Tensor, "n c h w"]:
        """Frames of ``clips`` clips, clip by clip, after each position has looked at its whole clip."""
        if self.pool_first:
            small = F.max_pool2d(x, 2)
            keys, values = self.phi(small), self.g(small)
        else:
            keys, values = F.max_pool2d(self.phi(x), 2), F.max_pool2d(self.g(x), 2)
        queries = self.theta(x)
        seen = F.scaled_dot_product_attention(
            _positions(queries, clips), _positions(keys, clips), _positions(values, clips), scale=self.scale
        )
        n, c, h, w = queries.shape
        return x + self.norm(self.out(seen.reshape(n, h, w, c).permute(0, 3, 1, 2)))


class NonLocalNet(VideoModel):
    """Parts: ``encoder`` (timm's ResNet-50), ``nonlocal_blocks`` (named by the block they follow), ``head``."""

    layouts = LAYOUTS
    image = IMAGE

    def __init__(self, plan: Plan, **parts: Any) -> None:
        encoder = build_cnn(IMAGE)
        blocks = {
            site: NonLocal(_width(encoder, site), pool_first=plan.pool_first, scaled=plan.scaled) for site in plan.sites
        }
        super().__init__(
            encoder=encoder, nonlocal_blocks=nn.ModuleDict(blocks).to(memory_format=torch.channels_last), **parts
        )
        self.encoder.maxpool.padding = plan.stem_padding
        self.plan = plan

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b *n d"]:
        """Pooled features per frame ``[b, t, 2048]``; per clip ``[b, 2048]`` for a variant that halves the frames.

        Raises UsageError for a video that is too small or too short.
        """
        clips, _, frames, *size = video.shape
        _check(self.plan, frames, min(size))
        net, after = self.encoder, cast(nn.ModuleDict, self.nonlocal_blocks)
        x = net.maxpool(net.act1(net.bn1(net.conv1(frames_of(video)))))
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            for i, block in enumerate(net.get_submodule(stage)):
                x = block(x)
                site = f"{stage}_{i}"
                if site in after:
                    x = after[site](x, clips)
            if stage == "layer1" and self.plan.halved:
                x = _halve(x, clips)
        pooled = x.mean(dim=(2, 3)).unflatten(0, (clips, -1))
        return pooled.mean(dim=1) if self.plan.halved else pooled

    def image_weights(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """ResNet-50 weights by timm's or torchvision's names, which are the same."""
        return without_classifier(state, IMAGE), []


def build(order: Order, plan: Plan) -> NonLocalNet:
    """The model of an order. Raises UsageError for a size that is too small or a clip that is too short."""
    net, spec = order.only("dropout"), order.spec
    _check(plan, spec.frames, spec.size)
    dropout = 0.5 if net.dropout is None else net.dropout
    head = (
        Head(2048, order.heads, dropout, std=0.01) if plan.halved else FrameHead(2048, order.heads, dropout, std=0.001)
    )
    return NonLocalNet(plan, head=head, spec=spec)


@register(
    summary="NL-R50 of the lightweight benchmark: ResNet-50 per frame and 5 non-local blocks over all 16 frames",
    paper=PAPER,
    licence="BSD-3-Clause (torchvision's image weights)",
    weights=IMAGE,
    spec=InputSpec(16, 224),
    params_m=31.69,
    source="lightweight paper, table of models: 31.7",
    gmacs=146.1,
    origin=ORIGIN,
    difference="The benchmark does not say which code it used. This is the block of temporal-shift-module, without the "
    "shift: keys and values are made, then pooled; similarities are not scaled; after blocks 0, 2 of the second stage "
    "and 0, 2, 4 of the third. Attention grows with the square of the frames: 61.1 GMACs at 8, 146.1 at 16.",
)
def nl_r50(order: Order) -> NonLocalNet:
    """All frames to the end, logits averaged over frames; 31,686,096 parameters at 400 classes."""
    sites = ("layer2_0", "layer2_2", "layer3_0", "layer3_2", "layer3_4")
    return build(order, Plan(sites, pool_first=False, scaled=False, halved=False))


@register(
    summary="C2D non-local ResNet-50 8x8 of PySlowFast: 8 frames, halved after the first stage",
    paper=PAPER,
    licence="no published weights; Apache-2.0 code",
    weights=IMAGE,
    spec=C2D,
    params_m=31.69,
    source="counted",
    gmacs=27.62,
    origin=ORIGIN,
    difference="C2D_NLN_8x8_R50 of PySlowFast: inputs pooled before keys and values, similarities scaled, after blocks "
    "1, 3 of the second stage and 1, 3, 5 of the third.",
)
def nl_r50_c2d(order: Order) -> NonLocalNet:
    """Takes checkpoints with PySlowFast's names."""
    return build(order, Plan(C2D_SITES, pool_first=True, scaled=True, halved=True))


@register(
    summary="C2D non-local ResNet-50 8x8 as the authors of the paper published it, from Caffe2",
    paper=PAPER,
    licence="CC-BY-NC-4.0",
    weights=IMAGE,
    spec=C2D,
    params_m=31.69,
    source="counted",
    gmacs=27.42,
    origin=ORIGIN,
    difference="nl_r50_c2d whose first max pooling has no padding, as in video-nonlocal-net.",
    releases=(
        Release(
            "k400",
            "https://dl.fbaipublicfiles.com/video-nonlocal/c2d_nonlocal_8x8_IN_pretrain_400k.pkl",
            "kinetics400, order of process_data/kinetics/classids.json in video-nonlocal-net",
            "CC-BY-NC-4.0",
        ),
    ),
    scores=(Score("kinetics400", 74.4, "8 frames, stride 8; 10 clips x 3 crops of 256", "video-nonlocal-net"),),
)
def nl_r50_caffe2(order: Order) -> NonLocalNet:
    """Takes the blobs of a Caffe2 file under their own names, once they are in a safetensors file."""
    return build(order, Plan(C2D_SITES, pool_first=True, scaled=True, halved=True, stem_padding=0))


def _positions(x: Float[Tensor, "n c h w"], clips: int) -> Float[Tensor, "b 1 p c"]:
    """All positions of each clip in one row; free of copies when channels are last."""
    return x.permute(0, 2, 3, 1).reshape(clips, 1, -1, x.shape[1])


def _halve(x: Float[Tensor, "n c h w"], clips: int) -> Float[Tensor, "m c h w"]:
    """The larger value of each pair of frames; an odd last frame is left out, as max pooling does."""
    frames = x.shape[0] // clips
    pairs = x.unflatten(0, (clips, frames))[:, : frames // 2 * 2]
    return torch.maximum(pairs[:, ::2], pairs[:, 1::2]).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _width(encoder: nn.Module, site: str) -> int:
    return encoder.get_submodule(f"{site.replace('_', '.')}.conv3").out_channels  # type: ignore[return-value]


def _check(plan: Plan, frames: int, size: int) -> None:
    if size < (smallest := SMALLEST[plan.stem_padding]):
        raise UsageError(
            f"This non-local network takes {smallest} x {smallest} pixels or more; got {size}. Nearest: {smallest}."
        )
    if plan.halved and frames < 2:
        raise UsageError(f"This non-local network halves the frames and takes 2 or more; got {frames}. Nearest: 2.")
