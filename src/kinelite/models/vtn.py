"""VTN (2102.00719) as the lightweight benchmark sized it: a CNN per frame, then a small transformer over the frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.models.cnn import build_cnn, check_size
from kinelite.models.encoder import default_size, encoder_config, without_classifier
from kinelite.models.factorised import Factorised
from kinelite.models.frames import frames_of
from kinelite.models.head import Head
from kinelite.models.registry import Card, Order, register, register_family
from kinelite.models.temporal.parts import DEFAULT, Sizes, build_temporal
from kinelite.types import InputSpec

PAPER = "Video Transformer Network, arXiv 2102.00719; sized as in the lightweight benchmark, arXiv 2111.09641"
ORIGIN = "CNN and transformer blocks: timm. Joined here: neither a library nor the authors publish a VTN over a CNN"
DIFFERENCE = (
    "The benchmark does not give the sizes. Width 256, MLP 1024 and 3 layers give both of its parameter counts; 8 "
    "heads and norms before each layer are our choice. The VTN of 2102.00719 has ViT-B frames and a Longformer over "
    "time: its weights do not fit. The last layer computes the class token alone, with equal output."
)
WIDTH, HEADS, LAYERS = 256, 8, 3


class FrameEncoder(nn.Module):
    """A timm CNN (``image``) and a new linear layer (``project``): frames ``[n, 3, h, w]`` to ``[n, 256]``."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.image = build_cnn(name)
        pooled = int(getattr(self.image, "head_hidden_size", None) or self.image.num_features)
        self.project = nn.Linear(pooled, WIDTH)

    def forward(self, frames: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Features of each frame alone."""
        return self.project(self.image(frames))


class VTN(Factorised):
    """CNN per frame, linear layer, transformer over the frames with a class token. Parts as in `Factorised`.

    The linear layer belongs to the encoder, so that stored features and the adapter of SFA are 256 wide.
    """

    def __init__(self, cnn: str, image: str, **parts: Any) -> None:
        super().__init__(**parts)
        self.cnn, self.image = cnn, image

    def encode(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        """Features of each frame alone, ``n = t``; any number of frames, of any size that the CNN can take."""
        return self.encoder(frames_of(video)).unflatten(0, (video.shape[0], video.shape[2]))

    def in_backbone(self, name: str) -> bool:
        """The CNN; the linear layer after it is new."""
        return name.startswith("encoder.image.")

    def image_weights(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """The CNN's weights by timm's names."""
        return {f"image.{name}": tensor for name, tensor in without_classifier(state, self.cnn).items()}, []


def build(order: Order, cnn: str) -> VTN:
    """The model of an order over a timm CNN; one named in ``order.net`` takes the variant's place, at its own size."""
    net, size = order.only("encoder", "temporal", "temporal_layers", "drop_path", "dropout"), order.spec.size
    if net.drop_path and net.temporal not in (None, DEFAULT):
        raise UsageError(f"net.drop_path needs net.temporal {DEFAULT}: {net.temporal} has no layers to drop.")
    if net.encoder:
        cnn, size = net.encoder, order.size or default_size(net.encoder)
    encoder, config = FrameEncoder(cnn), encoder_config(cnn)
    if net.encoder:
        check_size(encoder.image, cnn, size)
    sizes = Sizes(
        features=WIDTH,
        width=WIDTH,
        heads=HEADS,
        layers=LAYERS,
        tubelets=order.frames,
        mlp_width=4 * WIDTH,
        drop_path=net.drop_path or 0.0,
    )
    temporal = build_temporal(net, sizes)
    spec = replace(order.spec, size=size, mean=tuple(config.mean), std=tuple(config.std))
    head = Head(temporal.width, order.heads, net.dropout or 0.0)
    image = cnn if config.hf_hub_id or config.url else ""
    return VTN(cnn, image, encoder=encoder, temporal=temporal, head=head, spec=spec, width=WIDTH)


@register(
    summary="VTN of the lightweight benchmark: ResNet-50 per frame and 3 temporal layers, 16 frames",
    paper=PAPER,
    licence="BSD-3-Clause (torchvision's image weights)",
    weights="resnet50.tv_in1k",
    spec=InputSpec(16, 224),
    params_m=26.51,
    source="lightweight paper, table of models: 26.5",
    gmacs=65.43,
    origin=ORIGIN,
    difference=DIFFERENCE,
)
def vtn_r50(order: Order) -> VTN:
    """ResNet-50, 26,509,776 parameters at 400 classes."""
    return build(order, "resnet50.tv_in1k")


@register(
    summary="VTN of the lightweight benchmark: EfficientNet-B0 per frame and 3 temporal layers, 16 frames",
    paper=PAPER,
    licence="Apache-2.0 (timm's image weights)",
    weights="efficientnet_b0.ra_in1k",
    spec=InputSpec(16, 224),
    params_m=6.813,
    source="lightweight paper, table of models: 6.8",
    gmacs=6.19,
    origin=ORIGIN,
    difference=DIFFERENCE,
)
def vtn_eff(order: Order) -> VTN:
    """EfficientNet-B0, 6,812,684 parameters at 400 classes."""
    return build(order, "efficientnet_b0.ra_in1k")


def _any_card(encoder: str) -> Card:
    config = encoder_config(encoder)
    return Card(
        name=f"vtn:{encoder}",
        summary=f"VTN with timm's {encoder} per frame and {LAYERS} temporal layers",
        paper=PAPER,
        licence=config.license or "see the weights' page",
        weights=encoder if config.hf_hub_id or config.url else "",
        spec=InputSpec(16, default_size(encoder), tuple(config.mean), tuple(config.std)),
        params_m=None,
        source="",
        origin=ORIGIN,
        difference=DIFFERENCE,
    )


@register_family("vtn", _any_card)
def any_cnn(order: Order) -> VTN:
    """VTN over the timm CNN that the name carries."""
    return build(order, order.net.encoder or "")
