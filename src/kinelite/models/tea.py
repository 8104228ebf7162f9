"""TEA (2004.01398): Res2Net-50 whose blocks weigh channels by motion and mix neighbouring frames before each 3x3.

The CNN is timm's own; ME (motion excitation) and the temporal convolutions of MTA (multiple temporal aggregation) are
added to its blocks, under the names of the authors' code. The order of calls is written here, because both sit inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.models.checkpoints.layout import Layout
from kinelite.models.cnn import build_cnn
from kinelite.models.conv_norm import conv_norm
from kinelite.models.encoder import without_classifier
from kinelite.models.frames import frames_of
from kinelite.models.head import FrameHead
from kinelite.models.model import VideoModel
from kinelite.models.registry import Order, Score, register
from kinelite.types import InputSpec

IMAGE = "res2net50_26w_4s.in1k"
WIDTH = 2048
REDUCTION = 16
"""ME works on one channel in so many."""
NEW = (".me.", ".shifts.")
"""What image weights do not have."""

AUTHORS = Layout(
    name="Phoenix1327/tea-action-recognition",
    marks=(r"base_model\.layer\d\.\d+\.me\.",),
    rename=((r"^(module\.)?base_model\.", "encoder."), (r"^(module\.)?new_fc\.", "head.")),
)


class TEA(VideoModel):
    """Any number of frames, height and width; one vector per frame, whose logits are averaged."""

    layouts = (AUTHORS,)
    image = IMAGE

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b t d"]:
        """One vector per frame."""
        encoder, frames = self.encoder, video.shape[2]
        x = encoder.maxpool(encoder.act1(conv_norm(encoder.conv1, encoder.bn1, frames_of(video))))
        for stage in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
            for block in stage:
                x = _block(block, x, frames)
        return x.mean((2, 3)).unflatten(0, (-1, frames))

    def in_backbone(self, name: str) -> bool:
        """Res2Net's own weights."""
        return name.startswith("encoder.") and not any(new in name for new in NEW)

    def image_weights(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """timm's image weights fit as they are, without their classifier; ME and MTA stay as they started."""
        return without_classifier(state, IMAGE), []


class MotionExcitation(nn.Module):
    """ME (section 3.1): a weight of each channel from how the next frame differs from this one; ``c`` channels.

    The authors reduce the maps, convolve them depthwise, subtract frames and average over the frame. All of that is
    linear, so the average is taken first: of the reduced maps behind each of the nine taps. In evaluation the norm is
    linear, too, and the maps are averaged before they are reduced.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = channels // REDUCTION
        self.conv1 = nn.Conv2d(channels, reduced, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(reduced)
        self.conv2 = nn.Conv2d(reduced, reduced, 3, padding=1, groups=reduced, bias=False)
        self.conv3 = nn.Conv2d(reduced, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "n c h w"], frames: int) -> Float[Tensor, "n c 1 1"]:
        """Factors from 0.5 to 1.5 for each channel of each frame; the last frame of a clip has no motion."""
        taps = self._reduced_taps(x)
        convolved = (taps * self.conv2.weight.flatten(1)).sum(-1).unflatten(0, (-1, frames))
        plain = taps[..., 4].unflatten(0, (-1, frames))
        motion = F.pad(convolved[:, 1:] - plain[:, :-1], (0, 0, 0, 1)).flatten(0, 1)
        return torch.sigmoid(self.bn3(self.conv3(motion[..., None, None]))) + 0.5

    def _reduced_taps(self, x: Tensor) -> Tensor:
        """Reduced maps averaged over what each tap of a padded 3x3 kernel sees, ``[n, r, 9]``."""
        norm, covered = self.bn1, _covered(x)
        if norm.training or norm.running_var is None or norm.running_mean is None:
            return _averages(norm(self.conv1(x)), covered)
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        offset = norm.bias - norm.running_mean * scale
        taps = (self.conv1.weight.flatten(1) * scale[:, None]) @ _averages(x, covered)
        return taps + offset[:, None] * covered.sum(1)


class TemporalConv(nn.Module):
    """A depthwise convolution over time, kernel 3, for maps of frames; starts as given by ``taps`` ``[c, 3]``."""

    def __init__(self, taps: Float[Tensor, "c 3"]) -> None:
        super().__init__()
        self.conv = nn.Conv1d(len(taps), len(taps), 3, padding=1, groups=len(taps), bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(taps.unsqueeze(1))

    def forward(self, x: Float[Tensor, "n c h w"], frames: int) -> Float[Tensor, "n c h w"]:
        """As a 2-D convolution over time and pixels: channels last, the same memory is ``[b, c, t, h * w]``.

        On a CPU that is 5 to 20 times as fast as a 1-D convolution of each pixel, which copies twice.
        """
        n, c, h, w = x.shape
        columns = x.permute(0, 2, 3, 1).reshape(-1, frames, h * w, c).permute(0, 3, 1, 2)
        mixed = F.conv2d(columns, self.conv.weight.unsqueeze(-1), padding=(1, 0), groups=c)
        return mixed.permute(0, 2, 3, 1).reshape(n, h, w, c).permute(0, 3, 1, 2)


def extend(block: Any) -> None:
    """Give a timm Res2Net block its ME and MTA, in place.

    The temporal convolutions start as identities; that of the last group, which has no 3x3, as the shift of TSM: half
    of its channels from the next frame, half from the one before.
    """
    width = block.width
    block.me = MotionExcitation(width * block.scale)
    same, shift = torch.tensor([0.0, 1.0, 0.0]).repeat(width, 1), torch.zeros(width, 3)
    shift[: width // 2, 2] = 1
    shift[width // 2 :, 0] = 1
    block.shifts = nn.ModuleList([*(TemporalConv(same) for _ in block.convs), TemporalConv(shift)])


def _block(block: Any, x: Tensor, frames: int) -> Tensor:
    skip = x if block.downsample is None else conv_norm(block.downsample[0], block.downsample[1], x)
    x = block.relu(conv_norm(block.conv1, block.bn1, x))
    parts = _aggregated(block, x, block.me(x, frames), frames)
    y = conv_norm(block.conv3, block.bn3, torch.cat(parts, dim=1))
    y += skip
    return block.relu(y)


def _aggregated(block: Any, x: Tensor, factors: Tensor, frames: int) -> list[Tensor]:
    """MTA (section 3.2): groups of channels one after the other, each of which sees more frames and pixels."""
    groups = list(zip(x.split(block.width, dim=1), factors.split(block.width, dim=1), strict=True))
    made: list[Tensor] = []
    for i, (conv, norm) in enumerate(zip(block.convs, block.bns, strict=True)):
        maps, factor = groups[i]
        given = torch.addcmul(made[-1], maps, factor) if made and not block.is_first else maps * factor
        made.append(block.relu(conv_norm(conv, norm, block.shifts[i](given, frames))))
    maps, factor = groups[-1]
    last = block.shifts[-1](maps * factor, frames)
    return [*made, block.pool(last) if block.is_first else last]


def _covered(x: Tensor) -> Tensor:
    """Share of each pixel in the average behind each tap of a padded 3x3 kernel: ``[9, h * w]``."""
    h, w = x.shape[-2:]
    places = [torch.arange(size, device=x.device) for size in (h, w)]
    rows, columns = (torch.stack([at < len(at) - 1, at >= 0, at > 0]).to(x.dtype) for at in places)
    return torch.einsum("kh,lw->klhw", rows, columns).reshape(9, h * w) / (h * w)


def _averages(x: Tensor, covered: Tensor) -> Tensor:
    """``[n, c, 9]`` of maps ``[n, c, h, w]``, in one product: channels last, pixels are rows."""
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
    return (covered @ pixels).transpose(1, 2)


@register(
    summary="TEA on Res2Net-50: channels weighted by motion, temporal convolutions within each block",
    paper="TEA: Temporal Excitation and Aggregation for Action Recognition, arXiv 2004.01398",
    licence="see the authors' page, github.com/Res2Net",
    weights=IMAGE,
    spec=InputSpec(16, 224),
    params_m=24.919354,
    gmacs=69.08,
    source="own count; the lightweight paper says 24.9",
    origin="timm's res2net50_26w_4s; ME and MTA are in no library and are written here",
    difference="none in training; in evaluation ME averages before it reduces, which is equal and costs less",
    scores=(
        Score("kinetics400", 76.1, "16 sparse frames, 10 clips, 3 crops", "TEA paper"),
        Score("something-something v2", 65.1, "16 sparse frames, 10 clips, 3 crops", "TEA paper"),
    ),
)
def tea_r50(order: Order) -> TEA:
    """ME and MTA in all 16 blocks; dropout 0.5 and a classifier of N(0, 0.001), as in the authors' code."""
    dropout = order.only("dropout").dropout
    encoder = build_cnn(IMAGE)
    for stage in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
        for block in stage:
            extend(block)
    head = FrameHead(WIDTH, order.heads, 0.5 if dropout is None else dropout, std=0.001)
    return TEA(encoder=encoder, head=head, spec=order.spec)
