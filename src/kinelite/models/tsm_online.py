"""Online TSM (1811.08383, section 3.4): frames see only the past, so that a camera can be followed frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from kinelite.errors import UsageError
from kinelite.models.checkpoints.tsm import MMACTION, MOBILENET, ONLINE, RESNET
from kinelite.models.frames import frames_of
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
        return self._zeros(self._shapes(batch, self.spec.size, self.spec.size))

    def step(self, frame: Float[Tensor, "b c h w"], state: State | None = None) -> tuple[Logits, State]:
        """Mean logits of the frames so far, and what the next step needs; the given state is not changed.

        Raises UsageError while training, and for a state that was made for frames of another batch or size.
        """
        if self.training:
            raise UsageError("step() looks at one frame at a time, so it cannot train. Call model.eval() first.")
        shapes = self._shapes(*(frame.shape[side] for side in (0, 2, 3)))
        if state is None:
            state = self._zeros(shapes)
        elif [tuple(part.shape) for part in state] != shapes:
            at = "x".join(map(str, frame.shape))
            raise UsageError(f"This state was not made for frames {at}. Keep batch and size from the first frame on.")
        *past, total, count = state
        waiting, left = iter(past), []

        def take_and_leave(x: Tensor) -> Tensor:
            fold = x.shape[1] // SHARE
            left.append(x[:, :fold].clone())
            return torch.cat([next(waiting).to(memory_format=torch.channels_last), x[:, fold:]], dim=1)

        maps = self.trunk.maps(self.encoder, frames_of(frame.unsqueeze(2)), take_and_leave)
        total, count = total + maps.mean((2, 3), keepdim=True), count + 1
        mean = (total / count).to(next(self.head.parameters()).dtype)
        return self.head(mean.flatten(2).transpose(1, 2)), (*left, total, count)

    def _shapes(self, batch: int, height: int, width: int) -> list[tuple[int, ...]]:
        """Of the state for frames of that size."""
        sides = (self.trunk.sites(self.encoder, side) for side in (height, width))
        sites = [(batch, channels // SHARE, h, w) for (channels, h), (_, w) in zip(*sides, strict=True)]
        return [*sites, (batch, self.trunk.width, 1, 1), (batch, 1, 1, 1)]

    def _zeros(self, shapes: Sequence[tuple[int, ...]]) -> State:
        one = next(self.head.parameters())
        # The sum and the count are never less than fp32: bf16 cannot count beyond 256.
        wide = torch.promote_types(one.dtype, torch.float32)
        kinds = [*[one.dtype] * (len(shapes) - 2), wide, wide]
        return tuple(one.new_zeros(shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True))


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
            spec={"fit": "crop"},
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
