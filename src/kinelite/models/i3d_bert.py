"""I3D-BERT (2008.01232) as the lightweight benchmark sized it: an inflated ResNet-50, pooled over time by BERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.models.bert_pooling import BertPooling
from kinelite.models.encoder import without_classifier
from kinelite.models.head import Head
from kinelite.models.model import VideoModel
from kinelite.models.registry import Order, register
from kinelite.models.temporal.positions import fit_positions
from kinelite.types import InputSpec

IMAGE = "resnet50.tv_in1k"
WIDTH, HEADS = 512, 8


class Pointwise(nn.Conv3d):
    """A 1 x 1 x 1 convolution as one matrix product over channels that are last in memory.

    PyTorch gives such convolutions of a single clip to a kernel on a CPU that wants channels first, and copies.
    """

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t y x"]:
        """Every position alone, every other row and column where the stride is 2."""
        _, rows, columns = self.stride
        x = x[..., ::rows, ::columns].permute(0, 2, 3, 4, 1)
        return F.linear(x, self.weight.flatten(1)).permute(0, 4, 1, 2, 3)


def inflate_(net: nn.Module) -> nn.Module:
    """Turn a 2-D CNN into a 3-D one, in place: a kernel k x k becomes k x k x k, time is not strided (1705.07750, 2.3).

    Pooling stays within a frame. Weights become random.
    """
    for name, module in net.named_children():
        if isinstance(module, nn.Conv2d):
            setattr(net, name, _conv3d(module))
        elif isinstance(module, nn.BatchNorm2d):
            norm = nn.BatchNorm3d(module.num_features, module.eps, module.momentum)
            norm.load_state_dict(module.state_dict())
            setattr(net, name, norm)
        elif isinstance(module, nn.MaxPool2d):
            k, s, p = (int(v) for v in (module.kernel_size, module.stride, module.padding))  # type: ignore[arg-type]
            setattr(net, name, nn.MaxPool3d((1, k, k), (1, s, s), (0, p, p)))
        else:
            inflate_(module)
    return net


def inflate_weight(weight: Float[Tensor, "o i h w"], frames: int) -> Float[Tensor, "o i t h w"]:
    """An image kernel over ``frames``, divided by them, so that a still clip gives what the image gives."""
    return weight.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames


class I3DBert(VideoModel):
    """Parts: ``encoder`` (inflated ResNet-50), ``reduce`` (2048 to 512), ``bert`` (`BertPooling`), ``head``."""

    image = IMAGE
    reduce: nn.Linear
    bert: BertPooling

    def __init__(self, *, encoder: nn.Module, head: Head, spec: InputSpec) -> None:
        bert = BertPooling(WIDTH, heads=HEADS, steps=_steps(spec.frames))
        super().__init__(encoder=encoder, reduce=nn.Linear(2048, WIDTH), bert=bert, head=head, spec=spec)

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """The class token after BERT. Any height and width; raises UsageError for frames other than built for."""
        self.bert.check(_steps(video.shape[2]), frames=video.shape[2], built=self.spec.frames)
        seen = self.encoder.forward_features(video.contiguous(memory_format=torch.channels_last_3d))
        return self.bert(self.reduce(seen.mean(dim=(3, 4)).transpose(1, 2)))

    def image_weights(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """ResNet-50 weights by timm's or torchvision's names, kernels repeated over time."""
        own, fitted = self.encoder.state_dict(), without_classifier(state, IMAGE)
        for name, weight in fitted.items():
            if weight.ndim == 4 and name in own and own[name].ndim == 5:
                fitted[name] = inflate_weight(weight, own[name].shape[2])
        return fitted, ["kernels inflated over time (average)"]

    def fit_state(self, state: dict[str, Tensor], notes: list[str]) -> None:
        """Interpolate the positions where only the number of frames differs."""
        fit_positions(state, "bert.positions", self.bert.positions, notes, "BERT positions", "steps")


@register(
    summary="I3D-BERT of the lightweight benchmark: fully inflated ResNet-50 and one BERT layer over time, 16 frames",
    paper="Late Temporal Modeling in 3D CNN Architectures with BERT for Action Recognition, arXiv 2008.01232",
    licence="BSD-3-Clause (torchvision's image weights)",
    weights=IMAGE,
    spec=InputSpec(16, 224),
    params_m=50.61,
    source="lightweight paper, table of models: 50.6",
    gmacs=68.0,
    origin="ResNet-50: timm, inflated here. BERT pooling: written here, because only the authors' own code has it",
    difference="The benchmark does not give the sizes. Kernels of 3x3x3 everywhere, a linear layer to 512 and one BERT "
    "layer give its parameter count. Strides in time do not show in it: the first convolution has 2, as in I3D, "
    "which fits the benchmark's latency and memory best. No checkpoint of an I3D-ResNet with BERT was published.",
)
def i3d_bert(order: Order) -> I3DBert:
    """Half as many steps as frames. Dropout 0.8 before the classifier, as in the authors' code."""
    net = order.only("dropout")
    encoder: Any = inflate_(timm.create_model(IMAGE, num_classes=0))
    encoder.conv1.stride = (2, 2, 2)
    encoder.to(memory_format=torch.channels_last_3d)
    head = Head(WIDTH, order.heads, 0.8 if net.dropout is None else net.dropout)
    for linear in head.values():
        nn.init.xavier_uniform_(linear.get_parameter("weight"))
    return I3DBert(encoder=encoder, head=head, spec=order.spec)


def _conv3d(conv: nn.Conv2d) -> nn.Conv3d:
    k, s, p = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    kind = Pointwise if k == 1 else nn.Conv3d
    wide = kind(conv.in_channels, conv.out_channels, k, (1, s, s), (k // 2, p, p), bias=False)
    nn.init.kaiming_normal_(wide.weight, mode="fan_out", nonlinearity="relu")
    return wide


def _steps(frames: int) -> int:
    """Length in time after the first convolution, whose stride is 2."""
    return (frames + 1) // 2
