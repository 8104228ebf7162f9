"""X3D (2004.04730): a ResNet of depthwise 3x3x3 convolutions, expanded step by step along width, depth, time, space.

No timm or torchvision model has it, so its blocks are written here. Between layers a clip is ``[b, c, t, h, w]`` in
channels-last memory: a 1x1x1 convolution is then a matrix product, and a CPU runs the depthwise one ten times as fast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.helpers import make_divisible
from torch import Tensor, nn

from kinelite.models.checkpoints.x3d import PYSLOWFAST, PYTORCHVIDEO
from kinelite.models.conv_norm import folded
from kinelite.models.depthwise import DepthwiseConv3d
from kinelite.models.frames import clips_of, frames_of
from kinelite.models.head import Head
from kinelite.models.model import VideoModel
from kinelite.models.registry import KINETICS400, Order, Release, Score, register
from kinelite.types import GREY_MEAN, GREY_STD, InputSpec

Video = Float[Tensor, "b c t h w"]
Smaller = Float[Tensor, "b d t h2 w2"]
X3D_PAPER = "X3D: Expanding Architectures for Efficient Video Recognition, arXiv 2004.04730"
WIDTHS = (24, 48, 96, 192)
FEATURES = 2048


class Pointwise(nn.Linear):
    """A 1x1x1 convolution without bias and the batch norm after it, folded into it when the norm is not learning."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, bias=False)

    def forward(self, input: Video) -> Float[Tensor, "b d t h w"]:
        """The convolution alone, in channels-last memory."""
        return F.linear(input.permute(0, 2, 3, 4, 1), self.weight).permute(0, 4, 1, 2, 3)

    def normed(self, video: Video, norm: nn.BatchNorm3d) -> Float[Tensor, "b d t h w"]:
        """The normalised result, in channels-last memory."""
        if norm.training:
            return norm(self(video))
        scale, shift = folded(norm)
        return _shifted_product(video, self.weight * scale[:, None], shift)


class SqueezeExcite(nn.Module):
    """One gate per channel from the mean of the clip; on inputs of ``channels`` it learns ``channels / 16`` numbers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = make_divisible(channels / 16)
        self.fc1 = nn.Linear(channels, narrow)
        self.fc2 = nn.Linear(narrow, channels)

    def forward(self, video: Video) -> Float[Tensor, "b c 1 1 1"]:
        """Gates from 0 to 1."""
        return self.fc2(F.relu(self.fc1(video.mean(dim=(2, 3, 4))))).sigmoid()[:, :, None, None, None]


class X3DBlock(nn.Module):
    """Expand, convolve each channel in space and time, gate, project, add."""

    def __init__(self, before: int, after: int, *, stride: int, gated: bool) -> None:
        super().__init__()
        inner = int(2.25 * after)
        self.expand = Pointwise(before, inner)
        self.expand_norm = nn.BatchNorm3d(inner)
        self.depthwise = DepthwiseConv3d(inner, (3, 3, 3), stride)
        self.depthwise_norm = nn.BatchNorm3d(inner)
        self.gate = SqueezeExcite(inner) if gated else None
        self.project = Pointwise(inner, after)
        self.project_norm = nn.BatchNorm3d(after)
        self.shortcut = Pointwise(before, after) if stride > 1 else None
        self.shortcut_norm = nn.BatchNorm3d(after) if before != after else None
        self.stride = stride

    def forward(self, video: Video) -> Smaller:
        """Half the height and width, rounded up, where the stride is 2."""
        hidden = F.relu_(self.expand.normed(video, self.expand_norm))
        if self.depthwise_norm.training:
            hidden = self.depthwise_norm(self.depthwise(hidden))
        else:
            hidden = self.depthwise.scaled(hidden, *folded(self.depthwise_norm))
        # Backward needs what these two overwrite.
        spare = not torch.is_grad_enabled()
        if self.gate is not None:
            gate = self.gate(hidden)
            hidden = hidden.mul_(gate) if spare else hidden * gate
        hidden = self.project.normed(F.silu(hidden, inplace=spare), self.project_norm)
        hidden += self._around(video)
        return F.relu_(hidden)

    def _around(self, video: Video) -> Smaller:
        if self.shortcut is None:
            return video
        thinned = video[..., :: self.stride, :: self.stride]
        if self.shortcut_norm is None:
            return self.shortcut(thinned)
        return self.shortcut.normed(thinned, self.shortcut_norm)


class X3DStem(nn.Module):
    """Halve height and width, then look along time; one norm after both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.space = nn.Conv3d(3, width, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False)
        self.time = DepthwiseConv3d(width, (5, 1, 1))
        self.norm = nn.BatchNorm3d(width)

    def forward(self, video: Video) -> Smaller:
        """``[b, width, t, h / 2, w / 2]``."""
        # As single frames: PyTorch has no fast 3-D path for three channels.
        frames = frames_of(video.contiguous(memory_format=torch.channels_last_3d))
        seen = clips_of(F.conv2d(frames, self.space.weight[:, :, 0], None, 2, 1), video.shape[0])
        if self.norm.training:
            return F.relu_(self.norm(self.time(seen)))
        return F.relu_(self.time.scaled(seen, *folded(self.norm)))


class X3DNeck(nn.Module):
    """Widen, take the mean of the clip, widen again: a vector per clip."""

    def __init__(self, before: int) -> None:
        super().__init__()
        inner = int(2.25 * before)
        self.expand = Pointwise(before, inner)
        self.norm = nn.BatchNorm3d(inner)
        self.project = nn.Linear(inner, FEATURES, bias=False)

    def forward(self, video: Video) -> Float[Tensor, "b d"]:
        """The mean is over all positions, whatever their number."""
        return F.relu_(self.project(F.relu_(self.expand.normed(video, self.norm)).mean(dim=(2, 3, 4))))


class X3DEncoder(nn.Module):
    """Stem, four stages, neck. Every second block of a stage, from its first, has a gate."""

    def __init__(self, depths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.stem = X3DStem(WIDTHS[0])
        self.stages = nn.ModuleList()
        before = WIDTHS[0]
        for after, depth in zip(WIDTHS, depths, strict=True):
            blocks = [
                X3DBlock(after if i else before, after, stride=1 if i else 2, gated=i % 2 == 0) for i in range(depth)
            ]
            self.stages.append(nn.Sequential(*blocks))
            before = after
        self.neck = X3DNeck(before)
        _start(self)

    def forward(self, video: Video) -> Float[Tensor, "b d"]:
        """Features of a clip, not negative."""
        hidden = self.stem(video)
        for stage in self.stages:
            hidden = stage(hidden)
        return self.neck(hidden)


class X3D(VideoModel):
    """X3D of any depth, for clips of any length, height and width.

    PyTorchVideo and PySlowFast average over windows of the training size and then over their results when an image is
    larger; here there is one mean over all positions, which is the same at the training size.
    """

    layouts = (PYTORCHVIDEO, PYSLOWFAST)

    def forward_features(self, video: Video) -> Float[Tensor, "b d"]:
        """2048 features per clip."""
        return self.encoder(video)

    def fit_state(self, state: dict[str, Tensor], notes: list[str]) -> None:
        """Fold the norm that PySlowFast has on the first shortcut, and PyTorchVideo has not, into its neighbours.

        In evaluation the function is the same: the gain goes into the shortcut, the rest into the bias of the norm
        whose result is added to it.
        """
        block, found = "encoder.stages.0.0.", {}
        for name in ("weight", "bias", "running_mean", "running_var"):
            found[name] = state.get(f"{block}shortcut_norm.{name}")
        shortcut, bias = state.get(f"{block}shortcut.weight"), state.get(f"{block}project_norm.bias")
        if shortcut is None or bias is None or any(t is None or t.shape != bias.shape for t in found.values()):
            return
        if len(shortcut) != len(bias):
            return
        scale = found["weight"] * torch.rsqrt(found["running_var"] + 1e-5)
        state[f"{block}shortcut.weight"] = shortcut * scale[:, None]
        state[f"{block}project_norm.bias"] = bias + found["bias"] - found["running_mean"] * scale
        for name in [*found, "num_batches_tracked"]:
            state.pop(f"{block}shortcut_norm.{name}", None)
        notes.append("norm of the first shortcut folded into its neighbours (the same in evaluation)")


def _shifted_product(
    video: Video, weight: Float[Tensor, "d c"], shift: Float[Tensor, " d"]
) -> Float[Tensor, "b d t h w"]:
    """A 1x1 convolution of the frames: it adds the shift as it writes the result, where `F.linear` needs a pass."""
    frames = F.conv2d(frames_of(video), weight[:, :, None, None], shift)
    return clips_of(frames, video.shape[0])


@torch.no_grad()
def _start(encoder: nn.Module) -> None:
    """Normal weights of fan-out, as in PySlowFast; each block begins as its shortcut."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, X3DBlock):
            nn.init.zeros_(module.project_norm.weight)


def _build(order: Order, depths: tuple[int, int, int, int] = (3, 5, 11, 7)) -> X3D:
    net = order.only("dropout")
    head = Head(FEATURES, order.heads, 0.5 if net.dropout is None else net.dropout, std=0.01)
    return X3D(encoder=X3DEncoder(depths), head=head, spec=order.spec)


_ZOO = "https://dl.fbaipublicfiles.com"
_ORIGIN = "written here: neither timm nor torchvision has X3D"
_DIFFERENCE = (
    "PySlowFast's has 48 parameters more, a norm on the first shortcut, which loading folds into its neighbours"
)


def _releases(size: str) -> tuple[Release, ...]:
    return (
        Release("k400", f"{_ZOO}/pytorchvideo/model_zoo/kinetics/X3D_{size}.pyth", KINETICS400, "Apache-2.0"),
        Release("k400_slowfast", f"{_ZOO}/pyslowfast/x3d_models/x3d_{size.lower()}.pyth", KINETICS400, "Apache-2.0"),
    )


def _scores(theirs: float, ten_views: float, thirty_views: float, clip: str, crop: int, wide: int) -> tuple[Score, ...]:
    """The centre crop is of the training size, ``crop``; three are of ``wide`` pixels."""
    thirty = f"{clip}, {wide} pixels, 10 clips x 3 crops"
    return (
        Score("kinetics400", theirs, thirty, "PyTorchVideo model zoo"),
        Score("kinetics400", thirty_views, thirty, "PySlowFast model zoo"),
        Score("kinetics400", ten_views, f"{clip}, {crop} pixels, 10 clips x centre crop", "PySlowFast model zoo"),
    )


@register(
    summary="X3D-XS on the lightweight benchmark's 16 sparse frames (its authors': 4 frames of 160 pixels, stride 12)",
    paper=X3D_PAPER,
    licence="Apache-2.0",
    weights="",
    spec=InputSpec(16, 224, GREY_MEAN, GREY_STD),
    params_m=3.794274,
    source="PyTorchVideo's code; 3.8 in both papers",
    gmacs=4.732,
    origin=_ORIGIN,
    difference=f"{_DIFFERENCE}; 0.605 GMACs at the authors' 4 frames of 160 pixels",
    releases=_releases("XS"),
    scores=_scores(69.12, 68.7, 69.5, "4 frames, stride 12", 160, 182),
)
def x3d_xs(order: Order) -> X3D:
    """Blocks per stage 3, 5, 11, 7."""
    return _build(order)


@register(
    summary="X3D-S: X3D-XS on 13 frames of 160 pixels",
    paper=X3D_PAPER,
    licence="Apache-2.0",
    weights="",
    spec=InputSpec(13, 160, GREY_MEAN, GREY_STD, "dense", 6, "crop"),
    params_m=3.794274,
    source="PyTorchVideo's code",
    gmacs=1.962,
    origin=_ORIGIN,
    difference=_DIFFERENCE,
    releases=_releases("S"),
    scores=_scores(73.33, 73.1, 73.5, "13 frames, stride 6", 160, 182),
)
def x3d_s(order: Order) -> X3D:
    """The network of X3D-XS."""
    return _build(order)


@register(
    summary="X3D-M: X3D-XS on 16 consecutive frames of 224 pixels",
    paper=X3D_PAPER,
    licence="Apache-2.0",
    weights="",
    spec=InputSpec(16, 224, GREY_MEAN, GREY_STD, "dense", 5, "crop"),
    params_m=3.794274,
    source="PyTorchVideo's code",
    gmacs=4.732,
    origin=_ORIGIN,
    difference=_DIFFERENCE,
    releases=_releases("M"),
    scores=_scores(75.94, 75.1, 76.2, "16 frames, stride 5", 224, 256),
)
def x3d_m(order: Order) -> X3D:
    """The network of X3D-XS."""
    return _build(order)


@register(
    summary="X3D-L: twice as deep, 16 consecutive frames of 312 pixels",
    paper=X3D_PAPER,
    licence="Apache-2.0",
    weights="",
    spec=InputSpec(16, 312, GREY_MEAN, GREY_STD, "dense", 5, "crop"),
    params_m=6.153384,
    source="PyTorchVideo's code",
    gmacs=18.37,
    origin=_ORIGIN,
    difference=_DIFFERENCE,
    releases=_releases("L"),
    scores=_scores(77.44, 76.9, 77.5, "16 frames, stride 5", 312, 356),
)
def x3d_l(order: Order) -> X3D:
    """Blocks per stage 5, 10, 25, 15."""
    return _build(order, (5, 10, 25, 15))
