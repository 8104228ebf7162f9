"""ViViT with factorised encoder (model 2 of 2103.15691): an image transformer per tubelet, a transformer over time.

The encoder is any timm vision transformer with its own class token, registers, positions, norms and pooling; the pooled
vector of each tubelet goes to the temporal transformer. Where it is the class token, the last block computes no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from kinelite.errors import UsageError
from kinelite.models.checkpoints.vivit import EPIC, SCENIC, UNFACTORISED, scenic_release
from kinelite.models.class_token import keep_class_token
from kinelite.models.encoder import (
    EncoderPlan,
    block_shape,
    build_encoder,
    default_size,
    encoder_config,
    from_image,
    hub_weights,
    resize_spatial_positions,
    start_with_sine_positions,
)
from kinelite.models.factorised import Factorised
from kinelite.models.head import Head
from kinelite.models.pooling import pooled
from kinelite.models.registry import KINETICS400, KINETICS600, Card, Order, Score, register, register_family
from kinelite.models.sizes import nearest
from kinelite.models.temporal.parts import Sizes, build_temporal
from kinelite.types import InputSpec

VIVIT = "ViViT: A Video Vision Transformer, arXiv 2103.15691"
LIGHTWEIGHT = "Evaluating Transformers for Lightweight Action Recognition, arXiv 2111.09641"
HALF = (0.5, 0.5, 0.5)
ORIGIN = "timm: its vision transformer, its blocks in the transformer over time"
VIEWS = "32 frames, stride 2, 4 clips x 3 crops, 224 pixels"
WHOLE = "with all tokens of the last block in space and in time, which compute the class token alone, with equal output"
DEEP = {"temporal_layers": 24}
"""What the released ViViT-L of Kinetics has."""
OPTIONS = ("encoder", "tubelet", "inflate", "temporal", "temporal_layers", "pool", "drop_path", "dropout")


class ViViTFE(Factorised):
    """Factorised-encoder ViViT. Parts and shapes as in `Factorised`; ``n`` is frames / tubelet."""

    layouts = (SCENIC, *UNFACTORISED)

    def __init__(self, plan: EncoderPlan, **parts: Any) -> None:
        super().__init__(**parts)
        self.plan = plan
        self.tubelet = plan.tubelet

    def encode(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        """Pooled features of each tubelet alone, ``n = t / tubelet``; any multiple of the tubelet may be given.

        Raises UsageError for frames that are no multiple of the tubelet, or another height or width.
        """
        b, c, t, h, w = video.shape
        _check_frames(t, self.tubelet)
        if (h, w) != (self.spec.size, self.spec.size):
            raise UsageError(f"This model takes {self.spec.size} x {self.spec.size} pixels and got {h} x {w}.")
        tubelets = video.reshape(b, c, t // self.tubelet, self.tubelet, h, w).transpose(1, 2)
        tokens = self.encoder.forward_features(tubelets.reshape(-1, c * self.tubelet, h, w))
        return pooled(self.encoder, tokens, self.plan.pool).reshape(b, t // self.tubelet, self.width)

    def published_image(self) -> tuple[dict[str, Tensor], str] | None:
        """Weights of any timm encoder; None of a card that names none, but releases of the whole model.

        Raises UsageError when timm has none for the encoder as the variant changes it.
        """
        if self.card and self.card.releases and not self.card.weights:
            return None
        return hub_weights(self.plan), self.plan.name

    def image_weights(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """timm image weights as weights of ``encoder``, see `kinelite.models.encoder.from_image`."""
        return from_image(state, self.encoder, self.plan)

    def fit_state(self, state: dict[str, Tensor], notes: list[str]) -> None:
        """Interpolate positions in time and space; say which classifier a checkpoint of Epic-Kitchens has."""
        super().fit_state(state, notes)
        resize_spatial_positions(state, self.encoder, notes)
        heads = [len(tensor) for name, tensor in state.items() if name.startswith("head.")]
        if sum(EPIC.values()) in heads and set(self.head) != set(EPIC):
            notes.append(f"the file's classifier is of {EPIC['noun']} nouns and {EPIC['verb']} verbs: heads={EPIC}")


def build(order: Order, encoder: str, *, tubelet: int, layers: int, scenic: bool = False, **overrides: Any) -> ViViTFE:
    """The model of an order. ``overrides`` change the timm encoder (patch_size, embed_dim, depth, ...).

    ``scenic`` is for checkpoints of Scenic: both transformers have the GELU by tanh, which is Flax's.
    An encoder named in ``order.net`` takes the place of the variant's, as it is and at its own size.
    """
    net, size = order.only(*OPTIONS), order.card.spec.size
    if net.encoder:
        encoder, size, scenic, overrides = net.encoder, default_size(net.encoder), False, {}
    size = size if order.size is None else order.size
    tubelet = net.tubelet or tubelet
    _check_frames(order.frames, tubelet)
    gelu = "gelu_tanh" if scenic else None
    plan = EncoderPlan(encoder, tubelet, size, net.drop_path or 0.0, net.inflate, overrides, gelu, net.pool)
    image = build_encoder(plan)
    keep_class_token(image, net.pool)
    width, heads, mlp_width = block_shape(image)
    features = 2 * width if net.pool == "both" else width
    sizes = Sizes(
        features=features,
        width=width,
        heads=heads,
        layers=layers,
        tubelets=order.frames // tubelet,
        mlp_width=mlp_width,
        drop_path=net.drop_path or 0.0,
        gelu="tanh" if scenic else "none",
    )
    temporal = build_temporal(net, sizes)
    config = encoder_config(encoder)
    spec = replace(order.card.spec, frames=order.frames, size=size, mean=tuple(config.mean), std=tuple(config.std))
    head = Head(temporal.width, order.heads, net.dropout or 0.0)
    return ViViTFE(plan, encoder=image, temporal=temporal, head=head, spec=spec, width=features)


@register(
    summary="Tiny ViViT for the built-in demo and for tests: 64 pixels, trained from scratch in minutes on a CPU",
    paper=VIVIT,
    licence="no published weights",
    weights="",
    spec=InputSpec(32, 64, HALF, HALF),
    params_m=0.784,
    source="own count",
    gmacs=0.0578,
    origin=ORIGIN,
)
def vivit_fe_nano(order: Order) -> ViViTFE:
    """8 tubelets of 16 patches, width 96, started for training from scratch: Xavier weights as in big_vision, and 2-D
    sine positions ("Better plain ViT baselines for ImageNet-1k", 2205.01580)."""
    small = {"patch_size": 16, "embed_dim": 96, "depth": 2, "num_heads": 3, "weight_init": "jax"}
    model = build(order, "vit_tiny_patch16_224", tubelet=4, layers=2, **small)
    if order.net.encoder is None:
        start_with_sine_positions(model.encoder)
    return model


@register(
    summary="ViViT-Ti/16x2: DeiT-Tiny per tubelet and 4 temporal layers; the size for a laptop",
    paper=VIVIT,
    licence="Apache-2.0",
    weights="deit_tiny_patch16_224.fb_in1k",
    spec=InputSpec(32, 224),
    params_m=7.5,
    source="own count",
    gmacs=19.15,
    origin=ORIGIN,
)
def vivit_fe_ti(order: Order) -> ViViTFE:
    """DeiT-Tiny, width 192."""
    return build(order, "deit_tiny_patch16_224.fb_in1k", tubelet=2, layers=4)


@register(
    summary="ViViT-FE of the lightweight benchmark: DeiT-Small per frame and 2 temporal layers, 16 frames",
    paper=LIGHTWEIGHT,
    licence="Apache-2.0",
    weights="deit_small_patch16_224.fb_in1k",
    spec=InputSpec(16, 224),
    params_m=25.4,
    source="lightweight paper, table of models",
    gmacs=68.51,
    origin=ORIGIN,
    difference="The depth over time is not in the paper; 2 layers give its 25.4 million parameters. "
    f"73.64 GMACs {WHOLE}",
)
def vivit_fe_s(order: Order) -> ViViTFE:
    """DeiT-Small, width 384, one frame per tubelet; exactly 25,376,272 parameters at 400 classes."""
    return build(order, "deit_small_patch16_224.fb_in1k", tubelet=1, layers=2)


@register(
    summary="ViViT-B/16x2 factorised encoder: ViT-Base per tubelet and 4 temporal layers",
    paper=VIVIT,
    licence="Apache-2.0",
    weights="vit_base_patch16_224.augreg_in21k",
    spec=InputSpec(32, 224, HALF, HALF, "dense", 2, "crop"),
    params_m=115.1,
    source="ViViT paper",
    gmacs=263.8,
    origin=ORIGIN,
    difference=f"The paper counts 284.4 GMACs, and we 283.3 {WHOLE}",
    releases=(scenic_release("k400", "kinetics_400/vivit_base_16x2_fe", KINETICS400),),
    scores=(Score("kinetics400", 78.4, VIEWS, "Scenic"),),
)
def vivit_fe_b(order: Order) -> ViViTFE:
    """ViT-B/16 of ImageNet-21k, width 768."""
    return build(order, "vit_base_patch16_224.augreg_in21k", tubelet=2, layers=4, scenic=True)


@register(
    summary="ViViT-L/16x2 factorised encoder, 4 temporal layers (--net.temporal-layers 24 for k400 and k600)",
    paper=VIVIT,
    licence="Apache-2.0",
    weights="vit_large_patch16_224.augreg_in21k",
    spec=InputSpec(32, 224, HALF, HALF, "dense", 2, "crop"),
    params_m=354.90,
    source="Scenic's code; 606.83 with 24 temporal layers",
    gmacs=953.9,
    origin=ORIGIN,
    difference="The paper has 4 temporal layers and 995.3 GMACs; the Kinetics releases have 24. "
    f"988.2 (4 layers) and 992.5 GMACs (24) {WHOLE}",
    releases=(
        scenic_release("k400", "kinetics_400/vivit_large_16x2_fe", KINETICS400, net=DEEP),
        scenic_release("k600", "kinetics_600/vivit_large_16x2_fe", KINETICS600, net=DEEP),
        scenic_release(
            "epic100", "epic_kitchens/vivit_large_16x2_fe", "epic-kitchens-100: 300 nouns, then 97 verbs", heads=EPIC
        ),
    ),
    scores=(
        Score("kinetics400", 80.3, VIEWS, "Scenic"),
        Score("kinetics600", 81.6, VIEWS, "Scenic"),
        Score("epic-kitchens-100", 43.6, "32 frames, stride 1, 4 clips x 1 crop, actions", "Scenic"),
    ),
)
def vivit_fe_l(order: Order) -> ViViTFE:
    """ViT-L/16 of ImageNet-21k, width 1024. The paper says 4 temporal layers; the released K400 and K600 configs 24."""
    return build(order, "vit_large_patch16_224.augreg_in21k", tubelet=2, layers=4, scenic=True)


@register(
    summary="ViViT-H/16x2 factorised encoder, 4 temporal layers; no public image weights at patch 16",
    paper=VIVIT,
    licence="no published weights",
    weights="",
    spec=InputSpec(32, 224, HALF, HALF, "dense", 2, "crop"),
    params_m=711.15,
    source="Scenic's code; 710.77 with patches of 14",
    gmacs=1988.2,
    origin=ORIGIN,
    difference="H/14 has public image weights: --net.encoder vit_huge_patch14_224.orig_in21k (exact GELU). "
    f"2041 GMACs, and 2681 with patches of 14, {WHOLE}",
)
def vivit_fe_h(order: Order) -> ViViTFE:
    """ViT-H with patches of 16, width 1280. With ``net.encoder`` vit_huge_patch14_224.orig_in21k it is H/14."""
    return build(order, "vit_huge_patch14_224.orig_in21k", tubelet=2, layers=4, scenic=True, patch_size=16)


@register(
    summary="ViViT-g/14x2 factorised encoder, 4 temporal layers: the largest of the SFA paper",
    paper="Optimizing ViViT Training: Time and Memory Reduction for Action Recognition, arXiv 2306.04822",
    licence="no published weights",
    weights="",
    spec=InputSpec(32, 224, HALF, HALF, "dense", 2, "crop"),
    params_m=1113.6,
    source="counted from the paper's sizes",
    gmacs=4187.2,
    origin=ORIGIN,
    difference="The paper does not say how deep the transformer over time is; 4 layers as in ViViT-L. "
    f"4278 GMACs {WHOLE}",
)
def vivit_fe_g(order: Order) -> ViViTFE:
    """ViT-g/14, width 1408, MLP 6144 in both transformers."""
    return build(order, "vit_giant_patch14_224", tubelet=2, layers=4, scenic=True)


def _any_card(encoder: str) -> Card:
    config = encoder_config(encoder)
    return Card(
        name=f"vivit_fe:{encoder}",
        summary=f"ViViT-FE with timm's {encoder} per tubelet of 2 frames and 4 temporal layers",
        paper=VIVIT,
        licence=config.license or "see the weights' page",
        weights=encoder if config.hf_hub_id or config.url else "",
        spec=InputSpec(32, default_size(encoder), tuple(config.mean), tuple(config.std)),
        params_m=None,
        source="",
    )


@register_family("vivit_fe", _any_card)
def any_encoder(order: Order) -> ViViTFE:
    """ViViT-FE over the timm encoder that the name carries."""
    return build(order, order.net.encoder or "", tubelet=2, layers=4)


def _check_frames(frames: int, tubelet: int) -> None:
    if frames < tubelet or frames % tubelet:
        near = nearest(frames, tubelet)
        raise UsageError(f"{frames} frames do not divide into tubelets of {tubelet}. Nearest: {near}.")
