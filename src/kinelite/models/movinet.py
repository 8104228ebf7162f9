"""MoViNet (2103.11511): mobile video networks found by search, as clip models (base) and as causal ones (stream).

No library has them. The tables are those of the authors' code, TensorFlow model garden, official/projects/movinet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.models.checkpoints.movinet import BASE_LAYOUTS, STREAM_LAYOUTS
from kinelite.models.frames import frames_of
from kinelite.models.head import Head, Logits
from kinelite.models.model import VideoModel
from kinelite.models.movinet_blocks import BlockPlan, ClipBottleneck, ConvNorm, pointwise, turned
from kinelite.models.movinet_stream import StreamBottleneck, zeros
from kinelite.models.registry import KINETICS600, Order, Release, Score, register
from kinelite.models.streaming import State, StreamingModel
from kinelite.types import InputSpec

PAPER = "MoViNets: Mobile Video Networks for Efficient Video Recognition, arXiv 2103.11511"
DENSE = 2048

Stage = tuple[int, str]
"""Output channels, and per block 'channels inside : frames x pixels of the depthwise kernel'; each stage but the
fourth halves height and width in its first block."""

A0 = (
    8,
    (8, "24:1x5"),
    (32, "80:3x3 80:3x3 80:3x3"),
    (56, "184:5x3 112:3x3 184:3x3"),
    (56, "184:5x3 184:3x3 184:3x3 184:3x3"),
    (104, "384:5x3 280:1x5 280:1x5 344:1x5"),
    480,
)
A1 = (
    16,
    (16, "40:1x5 40:3x3"),
    (40, "96:3x3 120:3x3 96:3x3 96:3x3"),
    (64, "216:5x3 128:3x3 216:3x3 168:3x3 216:3x3"),
    (64, "216:5x3 216:3x3 216:3x3 128:3x3 128:1x5 216:3x3"),
    (136, "456:5x3 360:1x5 360:1x5 360:1x5 456:1x5 456:3x3 544:1x3"),
    600,
)
A2 = (
    16,
    (16, "40:1x5 40:3x3 64:3x3"),
    (40, "96:3x3 120:3x3 96:3x3 96:3x3 120:3x3"),
    (72, "240:5x3 160:3x3 240:3x3 192:3x3 240:3x3"),
    (72, "240:5x3 240:3x3 240:3x3 240:3x3 144:1x5 240:3x3"),
    (144, "480:5x3 384:1x5 384:1x5 480:1x5 480:1x5 480:3x3 576:1x3"),
    640,
)


def plans(table: tuple[Any, ...]) -> list[list[BlockPlan]]:
    """The blocks of a table, stage by stage."""
    stem, *stages, _ = table
    found, before = [], stem
    for number, (after, blocks) in enumerate(stages):
        found.append([])
        for position, block in enumerate(blocks.split()):
            wide, time, kernel = (int(part) for part in block.replace(":", "x").split("x"))
            stride = 2 if position == 0 and number != 3 else 1
            found[-1].append(BlockPlan(before, wide, after, time, kernel, stride))
            before = after
    return found


class MovinetEncoder(nn.Module):
    """Stem, five stages of blocks, and the widening 1x1 convolution before the mean."""

    def __init__(self, table: tuple[Any, ...], drop_path: float, *, stream: bool) -> None:
        super().__init__()
        stages = plans(table)
        block, activation = (StreamBottleneck, F.hardswish) if stream else (ClipBottleneck, F.silu)
        stem = nn.Conv2d(3, table[0], 3, 2, bias=False)
        if not stream:
            stem = nn.Conv3d(3, table[0], (1, 3, 3), (1, 2, 2), bias=False)
        self.stem = ConvNorm(stem, activation)
        count = sum(map(len, stages))
        rates = iter([drop_path * number / count for number in range(1, count + 1)])
        self.blocks = nn.ModuleList(nn.ModuleList(block(plan, next(rates)) for plan in stage) for stage in stages)
        self.project = pointwise(stages[-1][-1].after, table[-1], activation, frames=stream)
        self.width: int = table[-1]
        self.apply(_start)

    def each_block(self) -> list[Any]:
        """All blocks in order."""
        return [block for stage in self.blocks for block in cast("nn.ModuleList", stage)]


class Movinet(VideoModel):
    """Base models: convolutions over space and time that look both ways, any number of frames and pixels."""

    dense: nn.Linear
    layouts = BASE_LAYOUTS

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """``d`` is 2048."""
        x = self.encoder.stem(turned(video.contiguous(memory_format=torch.channels_last_3d)))
        for block in self.encoder.each_block():
            x = block(x)
        return F.silu(self.dense(self.encoder.project(x).mean(dim=(2, 3, 4))))


class MovinetStream(StreamingModel):
    """Causal models, a frame at a time or a clip at once; any number of frames and pixels.

    The state is the number of frames so far ``[b, 1, 1, 1]``; for each block the past frames that its temporal
    convolution sees, turned by 180 degrees, oldest first, and the sum of means that its gate sees; and the sum before
    the classifier.
    """

    dense: nn.Linear
    layouts = STREAM_LAYOUTS

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """What the classifier sees after the last frame; ``d`` is 2048."""
        b, _, t = video.shape[:3]
        x = self.encoder.stem(turned(frames_of(video).contiguous(memory_format=torch.channels_last)))
        for block in self.encoder.each_block():
            x = block(x, t)
        means = self.encoder.project(x).mean(dim=(2, 3))
        return F.silu(self.dense(means.unflatten(0, (b, t)).mean(dim=1)))

    def start(self, batch: int = 1) -> State:
        """All zeros: before the first frame there is nothing."""
        return self._zeros(self._shapes(batch, (self.spec.size, self.spec.size)))

    def step(self, frame: Float[Tensor, "b c h w"], state: State | None = None) -> tuple[Logits, State]:
        """Logits after one more frame, and the new state; the given one is not changed. None starts a clip.

        Raises UsageError while training, and for a state that was made for frames of another batch or size.
        """
        if self.training:
            raise UsageError("step() looks at one frame at a time, so it cannot train. Call model.eval() first.")
        shapes = self._shapes(len(frame), frame.shape[-2:])
        if state is None:
            state = self._zeros(shapes)
        elif [tuple(part.shape) for part in state] != shapes:
            at = "x".join(map(str, frame.shape))
            raise UsageError(f"This state was not made for frames {at}. Keep batch and size from the first frame on.")
        count, *rest = state
        count, kept = count + 1, []
        x = self.encoder.stem(turned(frame.contiguous(memory_format=torch.channels_last)))
        for block in self.encoder.each_block():
            x, new = block.step(x, tuple(rest[: block.plan.time]), count)
            rest, kept = rest[block.plan.time :], [*kept, *new]
        mean = self.encoder.project(x).mean(dim=(2, 3), keepdim=True)
        total = rest[0] + mean
        features = F.silu(self.dense((total / count).to(mean.dtype).flatten(1)))
        return self.head(features), (count, *kept, total)

    def _shapes(self, batch: int, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Of the state for frames of ``size``, height and width."""
        height, width = _halved(size)
        shapes: list[tuple[int, ...]] = [(batch, 1, 1, 1)]
        for block in self.encoder.each_block():
            height, width = _halved((height, width)) if block.plan.stride > 1 else (height, width)
            shapes += [(batch, block.plan.wide, height, width)] * (block.plan.time - 1)
            shapes.append((batch, block.plan.wide, 1, 1))
        return [*shapes, (batch, self.encoder.width, 1, 1)]

    def _zeros(self, shapes: list[tuple[int, ...]]) -> State:
        return zeros(self.dense.weight, shapes, [block.plan for block in self.encoder.each_block()])


def _halved(size: Sequence[int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _start(module: nn.Module) -> None:
    """He's initialisation of the kernels, as in the authors' code."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def build(order: Order, table: tuple[Any, ...], *, stream: bool = False, dropout: float) -> Any:
    """The model of an order."""
    net = order.only("drop_path", "dropout")
    encoder = MovinetEncoder(table, net.drop_path or 0.0, stream=stream)
    head = Head(DENSE, order.heads, dropout if net.dropout is None else net.dropout, std=0.01)
    dense = nn.Linear(encoder.width, DENSE)
    return (MovinetStream if stream else Movinet)(encoder=encoder, dense=dense, head=head, spec=order.spec)


def _releases(size: str, kind: str) -> tuple[Release, ...]:
    port = f"model{size.upper()}" + ("_stream" if kind == "stream" else "")
    garden = "https://storage.googleapis.com/tf_model_garden/vision/movinet"
    torch_port = "https://github.com/Atze00/MoViNet-pytorch/raw/main/weights"
    return (
        Release("k600", f"{garden}/movinet_{size}_{kind}.tar.gz", KINETICS600, "Apache-2.0"),
        Release("k600_torch", f"{torch_port}/{port}_statedict_v3", KINETICS600, "Apache-2.0; the port MIT"),
    )


FACTS: dict[str, Any] = {
    "paper": PAPER,
    "licence": "Apache-2.0",
    "weights": "",
    "spec": InputSpec(16, 224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "origin": "written here: neither timm nor torchvision nor transformers has it",
    "difference": "none in parameters; the authors count GMACs at 50 frames, here they are those of 16",
}


def _scores(top1: float, size: int) -> tuple[Score, ...]:
    return (Score("kinetics600", top1, f"50 frames, every 5th, 1 view, {size} pixels", "model garden, movinet/README"),)


@register(
    summary="MoViNet-A0 base: the smallest of the family, whole clips",
    params_m=2.702,
    source="lightweight paper, table of models",
    gmacs=1.323,
    releases=_releases("a0", "base"),
    scores=_scores(72.28, 172),
    **FACTS,
)
def movinet_a0(order: Order) -> Movinet:
    """Trained on 172 pixels and 50 frames by the authors, whose count there is 2.7 GMACs."""
    return build(order, A0, dropout=0.2)


@register(
    summary="MoViNet-A1 base: the second size, whole clips",
    params_m=4.2805,
    source="counted from the authors' code",
    gmacs=2.928,
    releases=_releases("a1", "base"),
    scores=_scores(76.69, 172),
    **FACTS,
)
def movinet_a1(order: Order) -> Movinet:
    """Trained on 172 pixels and 50 frames by the authors."""
    return build(order, A1, dropout=0.5)


@register(
    summary="MoViNet-A2 base: the third size, whole clips",
    params_m=4.8398,
    source="lightweight paper, table of models",
    gmacs=3.701,
    releases=_releases("a2", "base"),
    scores=_scores(78.62, 224),
    **FACTS,
)
def movinet_a2(order: Order) -> Movinet:
    """Trained on 224 pixels and 50 frames by the authors."""
    return build(order, A2, dropout=0.5)


@register(
    summary="MoViNet-A0 stream: the smallest of the family, causal, frame by frame",
    params_m=3.3382,
    source="counted from the authors' code",
    gmacs=1.209,
    releases=_releases("a0", "stream"),
    scores=_scores(72.05, 172),
    **FACTS,
)
def movinet_a0_stream(order: Order) -> MovinetStream:
    """The one for a small board: 1.2 GMACs for 16 frames of 224 pixels."""
    return build(order, A0, stream=True, dropout=0.2)


@register(
    summary="MoViNet-A1 stream: the second size, causal, frame by frame",
    params_m=6.0376,
    source="counted from the authors' code",
    gmacs=2.734,
    releases=_releases("a1", "stream"),
    scores=_scores(76.45, 172),
    **FACTS,
)
def movinet_a1_stream(order: Order) -> MovinetStream:
    """Trained on 172 pixels and 50 frames by the authors."""
    return build(order, A1, stream=True, dropout=0.5)


@register(
    summary="MoViNet-A2 stream: the third size, causal, frame by frame",
    params_m=6.9172,
    source="counted from the authors' code",
    gmacs=3.425,
    releases=_releases("a2", "stream"),
    scores=_scores(78.40, 224),
    **FACTS,
)
def movinet_a2_stream(order: Order) -> MovinetStream:
    """Trained on 224 pixels and 50 frames by the authors."""
    return build(order, A2, stream=True, dropout=0.5)
