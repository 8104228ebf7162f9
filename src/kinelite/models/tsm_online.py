"""Online TSM (1811.08383, section 3.4): frames see only the past, so that a camera can be followed frame by frame."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from kinelite.models.checkpoints.tsm import MMACTION, MOBILENET, ONLINE, RESNET
from kinelite.models.cnn import frames_of
from kinelite.models.head import Logits
from kinelite.models.registry import Order, Release, register
from kinelite.models.streaming import State, StreamingModel
from kinelite.models.tsm import PAPER, SHARE, TSM, build
from kinelite.models.tsm_trunks import MOBILENET_V2, RESNET50
from kinelite.types import InputSpec


class OnlineTSM(TSM, StreamingModel):
    """TSM whose first eighth of the channels comes from the frame before, and nothing from the next.

    ``forward`` gives the mean of the logits of all frames of the clip. ``step`` gives the mean over the frames so far:
    the authors' demo, too, averages the logits of single frames, over a window of twelve. The state is, per place of
    mixing, what the frame before left there ``[b, c / 8, h, w]``; then the sum of the features so far ``[b, d, 1, 1]``;
    then the number of frames ``[b, 1, 1, 1]``. Start a new clip, from `start` or None, when what is seen changes.
    """

    following = False
    layouts = (ONLINE, RESNET, MOBILENET, *MMACTION)

    def start(self, batch: int = 1) -> State:
        """The state before the first frame, all zeros, for frames of ``spec.size``."""
        one = next(self.head.parameters())
        sites = [(channels // SHARE, size, size) for channels, size in self.trunk.sites(self.encoder, self.spec.size)]
        shapes = [*sites, (self.trunk.width, 1, 1), (1, 1, 1)]
        return tuple(one.new_zeros(batch, *shape) for shape in shapes)

    def step(self, frame: Float[Tensor, "b c h w"], state: State | None = None) -> tuple[Logits, State]:
        """Mean logits of the frames so far, and what the next step needs."""
        *past, total, count = self.start(len(frame)) if state is None else state
        waiting, left = iter(past), []

        def take_and_leave(x: Tensor) -> Tensor:
            fold = x.shape[1] // SHARE
            left.append(x[:, :fold].clone())
            return torch.cat([next(waiting).to(memory_format=torch.channels_last), x[:, fold:]], dim=1)

        maps = self.trunk.maps(self.encoder, frames_of(frame.unsqueeze(2)), take_and_leave)
        total, count = total + maps.mean((2, 3), keepdim=True), count + 1
        logits = self.head((total / count).flatten(2).transpose(1, 2))
        return logits, (*left, total, count)


@register(
    summary="Online TSM on MobileNetV2: one frame per step, 113 kB of state",
    paper=PAPER,
    licence="Apache-2.0",
    weights=MOBILENET_V2.image,
    spec=InputSpec(8, 224),
    params_m=2.736272,
    gmacs=2.396,
    source="own count",
    origin="timm's mobilenetv2_100; the shift, the state and the order of calls are written here",
    releases=(
        Release(
            "jester",
            "https://hanlab18.mit.edu/projects/tsm/models/mobilenetv2_jester_online.pth.tar",
            "jester, 27 gestures in the order of the authors' online_demo/main.py",
            "MIT",
        ),
    ),
)
def tsm_mobilenet_v2_online(order: Order) -> OnlineTSM:
    """MobileNetV2 of width 1, as in the authors' demo on a Jetson Nano."""
    return cast(OnlineTSM, build(OnlineTSM, MOBILENET_V2, order))


@register(
    summary="Online TSM on ResNet-50: one frame per step",
    paper=PAPER,
    licence="BSD-3-Clause",
    weights=RESNET50.image,
    spec=InputSpec(8, 224),
    params_m=24.327632,
    gmacs=32.70,
    source="own count",
    origin="timm's resnet50; the shift, the state and the order of calls are written here",
    difference="the authors published no weights of this variant",
)
def tsm_r50_online(order: Order) -> OnlineTSM:
    """A shift from the past in each of the 16 blocks of ResNet-50."""
    return cast(OnlineTSM, build(OnlineTSM, RESNET50, order))
