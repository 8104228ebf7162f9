"""TSM (1811.08383): an image CNN whose residual branches see some channels of the frame before and of the frame after.

The CNN is timm's own with its names and image weights; only the order of its calls is written here, because the shift
comes between the skip connection and the first convolution of a block and needs the number of frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinelite.models.checkpoints.tsm import MMACTION, MOBILENET, RESNET
from kinelite.models.cnn import build_cnn
from kinelite.models.encoder import without_classifier
from kinelite.models.frames import frames_of
from kinelite.models.head import FrameHead
from kinelite.models.model import VideoModel
from kinelite.models.registry import KINETICS400, Order, Release, Score, register
from kinelite.models.tsm_trunks import MOBILENET_V2, RESNET50, Trunk
from kinelite.types import InputSpec

PAPER = "TSM: Temporal Shift Module for Efficient Video Understanding, arXiv 1811.08383"
AUTHORS = "https://hanlab18.mit.edu/projects/tsm/models/TSM_"
MMACTION_FILES = "https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/"
SSV2 = "something-something v2, numbered as in the labels file"
SHARE = 8
"""One channel in so many comes from the next frame, and one from the frame before."""


class TSM(VideoModel):
    """TSM over a `Trunk`; one vector per frame, whose logits are averaged. Any number of frames, height and width."""

    layouts = (RESNET, MOBILENET, *MMACTION)
    following = True
    """Whether a frame sees the next one."""

    def __init__(self, trunk: Trunk, **parts: Any) -> None:
        super().__init__(**parts)
        self.trunk = trunk
        self.image = trunk.image

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b t d"]:
        """One vector per frame."""
        frames = video.shape[2]
        maps = self.trunk.maps(self.encoder, frames_of(video), lambda x: shift(x, frames, following=self.following))
        return maps.mean((2, 3)).unflatten(0, (-1, frames))

    def image_weights(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """timm's image weights fit as they are, without their classifier."""
        return without_classifier(state, self.image), []


def shift(x: Float[Tensor, "n c h w"], frames: int, *, following: bool) -> Float[Tensor, "n c h w"]:
    """The first eighth of the channels from the next frame, the second from the frame before, the rest as they are.

    Zeros where there is no such frame (1811.08383, section 3.2). ``x`` counts frames within clips. Unless
    ``following``, nothing comes from the next frame, and the first eighth from the frame before.
    """
    fold = x.shape[1] // SHARE
    if torch.compiler.is_exporting():
        return _joined(x, frames, fold if following else 0, fold)
    shifted: Any = _Shift.apply(x, frames, fold if following else 0, fold)
    return shifted


class _Shift(torch.autograd.Function):
    """One pass each way: autograd of slices would fill and add a whole tensor of gradients for each of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frames: int, following: int, before: int) -> Tensor:
        ctx.frames, ctx.parts = frames, (slice(0, following), slice(following, following + before))
        return _moved(x, frames, *ctx.parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _moved(gradients[0], ctx.frames, *reversed(ctx.parts)), None, None, None


def _moved(x: Tensor, frames: int, earlier: slice, later: slice) -> Tensor:
    """Channels ``earlier`` go one frame back, ``later`` one on. Channels last: what belongs to a pixel is together."""
    n, c, h, w = x.shape
    given = x.permute(0, 2, 3, 1).reshape(-1, frames, h, w, c)
    made = torch.empty_like(given, memory_format=torch.contiguous_format)
    made[:, :-1, ..., earlier] = given[:, 1:, ..., earlier]
    made[:, -1, ..., earlier] = 0
    made[:, 1:, ..., later] = given[:, :-1, ..., later]
    made[:, 0, ..., later] = 0
    rest = slice(max(earlier.stop, later.stop), None)
    made[..., rest] = given[..., rest]
    return made.reshape(n, h, w, c).permute(0, 3, 1, 2)


def _joined(x: Tensor, frames: int, following: int, before: int) -> Tensor:
    """The same without writing into parts of a tensor, which runtimes of exported graphs do slowly or not at all."""
    clips = x.unflatten(0, (-1, frames))
    earlier, later, rest = clips.split([following, before, x.shape[1] - following - before], dim=2)
    gone = F.pad(earlier[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))
    come = F.pad(later[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
    return torch.cat([gone, come, rest] if following else [come, rest], dim=2).flatten(0, 1)


def build(model: type[TSM], trunk: Trunk, order: Order) -> TSM:
    """The model of an order; dropout 0.5 and a classifier of N(0, 0.001), as in the official training script."""
    dropout = order.only("dropout").dropout
    head = FrameHead(trunk.width, order.heads, 0.5 if dropout is None else dropout, std=0.001)
    return model(trunk, encoder=build_cnn(trunk.image), head=head, spec=order.spec)


def _theirs(name: str, file: str, classes: str = KINETICS400) -> Release:
    return Release(name, f"{AUTHORS}{file}.pth", classes, "MIT", spec=_spec(name))


def _mmaction(name: str, config: str, stamp: str, classes: str = KINETICS400) -> Release:
    folder = f"tsm_imagenet-pretrained-{config}"
    address, checksum = f"{MMACTION_FILES}{folder}/{folder}_{stamp}.pth", stamp.split("-")[1]
    return Release(name, address, classes, "Apache-2.0", checksum, spec=_spec(name))


def _spec(name: str) -> dict[str, Any]:
    """The input of a release, as its name tells it; dense frames are spread evenly over a window of 64."""
    frames = int(name.split("_")[1].removesuffix("f"))
    dense = {"sampling": "dense", "stride": 64 // frames} if "dense" in name else {"sampling": "sparse"}
    return {"frames": frames, "fit": "crop", **dense}


@register(
    summary="TSM on ResNet-50: a 2-D CNN that shifts channels between neighbouring frames, for no extra weights",
    paper=PAPER,
    licence="BSD-3-Clause",
    weights=RESNET50.image,
    spec=InputSpec(16, 224),
    params_m=24.327632,
    gmacs=65.395,
    source="own count; the lightweight paper says 24.3",
    origin="timm's resnet50; the shift is written here and sits inside its blocks, so the order of calls is, too",
    releases=(
        _theirs("k400_16f", "kinetics_RGB_resnet50_shift8_blockres_avg_segment16_e50"),
        _theirs("k400_8f", "kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50"),
        _theirs("k400_8f_dense", "kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e100_dense"),
        _theirs("ssv2_16f", "somethingv2_RGB_resnet50_shift8_blockres_avg_segment16_e45", SSV2),
        _theirs("ssv2_8f", "somethingv2_RGB_resnet50_shift8_blockres_avg_segment8_e45", SSV2),
        _mmaction("k400_16f_mmaction", "r50_8xb16-1x1x16-50e_kinetics400-rgb", "20220831-042b1748"),
        _mmaction("k400_8f_mmaction", "r50_8xb16-1x1x8-50e_kinetics400-rgb", "20220831-64d69186"),
        _mmaction("k400_8f_dense_mmaction", "r50_8xb16-dense-1x1x8-50e_kinetics400-rgb", "20220831-f55d3c2b"),
        _mmaction("ssv2_16f_mmaction", "r50_8xb16-1x1x16-50e_sthv2-rgb", "20230317-ec6696ad", SSV2),
        _mmaction("ssv2_8f_mmaction", "r50_8xb16-1x1x8-50e_sthv2-rgb", "20230317-be0fc26e", SSV2),
    ),
    scores=(
        Score("kinetics400", 72.6, "16 sparse frames, 1 clip, centre crop 224", "authors' README"),
        Score("kinetics400", 73.7, "16 sparse frames, 1 clip, 10 crops", "authors' README"),
        Score("kinetics400", 71.2, "8 sparse frames, 1 clip, centre crop 224", "authors' README"),
        Score("kinetics400", 74.1, "8 frames of a window of 64, 10 clips, 3 crops, full resolution", "authors' README"),
        Score("something-something v2", 63.1, "16 sparse frames, 2 clips, full resolution", "authors' README"),
        Score("kinetics400", 75.12, "16 sparse frames, 10 crops", "MMAction2"),
    ),
)
def tsm_r50(order: Order) -> TSM:
    """A shift in each of the 16 blocks of ResNet-50."""
    return build(TSM, RESNET50, order)


@register(
    summary="TSM on MobileNetV2, for phones: shifts in the ten blocks that have a skip connection",
    paper=PAPER,
    licence="Apache-2.0",
    weights=MOBILENET_V2.image,
    spec=InputSpec(8, 224),
    params_m=2.736272,
    gmacs=2.396,
    source="own count; MMAction2 says 2.736",
    origin="timm's mobilenetv2_100; the shift and the order of calls are written here",
    releases=(
        _theirs("k400_8f_dense", "kinetics_RGB_mobilenetv2_shift8_blockres_avg_segment8_e100_dense"),
        _mmaction("k400_8f_mmaction", "mobilenetv2_8xb16-1x1x8-100e_kinetics400-rgb", "20230414-401127fd"),
    ),
    scores=(
        Score("kinetics400", 69.5, "8 frames of a window of 64, 10 clips, 3 crops, full resolution", "authors' README"),
        Score("kinetics400", 68.71, "8 sparse frames, 3 crops", "MMAction2"),
    ),
)
def tsm_mobilenet_v2(order: Order) -> TSM:
    """MobileNetV2 of width 1."""
    return build(TSM, MOBILENET_V2, order)
