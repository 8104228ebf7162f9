"""TimeSformer (2102.05095): a vision transformer whose blocks attend over time, then over space.

The tokens of a clip are one class token and, place by place, the patches of that place in all frames. Names below
``encoder.`` are those of the official code, which are timm's names of a ViT with ``temporal_*`` added.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from kinelite.models.checkpoints.layout import GREY
from kinelite.models.checkpoints.timesformer import LAYOUTS
from kinelite.models.encoder import without_classifier
from kinelite.models.head import Head
from kinelite.models.model import VideoModel
from kinelite.models.registry import KINETICS400, KINETICS600, Order, Release, Score, register
from kinelite.models.sizes import check_patches, check_video
from kinelite.types import InputSpec

PAPER = "Is Space-Time Attention All You Need for Video Understanding?, arXiv 2102.05095"
Scheme = Literal["divided", "joint", "space"]
_POSITIONS, _TIMES = "encoder.pos_embed", "encoder.time_embed"
_NORM: Any = partial(nn.LayerNorm, eps=1e-6)


class DividedBlock(nn.Module):
    """Attention over time, attention over space, MLP (2102.05095, section 3, and the official code).

    The class token takes no part in attention over time. In attention over space each frame sees the same class token,
    and what the frames make of it is averaged. ``temporal_fc`` starts at zero, so that a block begins as a block of
    the image model, and stands behind stochastic depth.
    """

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.temporal_norm1 = _NORM(width)
        self.temporal_attn = Attention(width, heads, qkv_bias=True)
        self.temporal_fc = nn.Linear(width, width)
        self.norm1 = _NORM(width)
        self.attn = Attention(width, heads, qkv_bias=True)
        self.norm2 = _NORM(width)
        self.mlp = Mlp(width, 4 * width)
        self.drop_path = drop_path

    def forward(self, tokens: Float[Tensor, "b n d"], frames: int) -> Float[Tensor, "b n d"]:
        """Tokens ``[b, 1 + places * frames, d]`` after the block."""
        b, _, d = tokens.shape
        cls, patches = tokens[:, :1], tokens[:, 1:]
        over_time = self.temporal_attn(self.temporal_norm1(patches).reshape(-1, frames, d))
        patches = patches + self.temporal_fc(self._drop(over_time)).reshape(b, -1, d)

        grid = patches.reshape(b, -1, frames, d)
        each = cls.unsqueeze(1).expand(-1, frames, -1, -1)
        per_frame = torch.cat([each, grid.transpose(1, 2)], dim=2).flatten(0, 1)
        over_space = self._drop(self.attn(self.norm1(per_frame))).reshape(b, frames, -1, d)
        cls = cls + over_space[:, :, 0].mean(dim=1, keepdim=True)
        grid = grid + over_space[:, :, 1:].transpose(1, 2)

        tokens = torch.cat([cls, grid.flatten(1, 2)], dim=1)
        return tokens + self._drop(self.mlp(self.norm2(tokens)))

    def _drop(self, branch: Float[Tensor, "m n d"]) -> Float[Tensor, "m n d"]:
        """Stochastic depth per sequence: a place in time, a frame or a clip."""
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        return branch * (branch.new_empty(branch.shape[0], 1, 1).bernoulli_(keep) / keep)


class PatchEmbed(nn.Module):
    """One token per square of 16 x 16 pixels."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, images: Float[Tensor, "m c h w"]) -> Float[Tensor, "m n d"]:
        """Tokens row by row."""
        return self.proj(images).flatten(2).transpose(1, 2)


class SpaceTimeTransformer(nn.Module):
    """A vision transformer over the patches of a clip. ``video [b, c, t, h, w]`` becomes the class token ``[b, d]``."""

    def __init__(
        self, *, scheme: Scheme, frames: int, size: int, width: int, heads: int, depth: int, drop_path: float
    ) -> None:
        super().__init__()
        self.scheme = scheme
        self.patch_embed = PatchEmbed(width, 16)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + (size // 16) ** 2, width))
        if scheme != "space":
            self.time_embed = nn.Parameter(torch.zeros(1, frames, width))
        rates = [drop_path * layer / max(depth - 1, 1) for layer in range(depth)]
        if scheme == "divided":
            blocks = [DividedBlock(width, heads, rate) for rate in rates]
        else:
            blocks = [Block(width, heads, qkv_bias=True, drop_path=rate, norm_layer=_NORM) for rate in rates]
        self.blocks = nn.ModuleList(blocks)
        self.norm = _NORM(width)
        self.apply(_init)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for block in blocks:
            if isinstance(block, DividedBlock):
                nn.init.zeros_(block.temporal_fc.weight)

    def forward(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """The class token after the last norm; under 'space' its mean over the frames is normed."""
        b, _, frames = video.shape[:3]
        patches = self.patch_embed(video.transpose(1, 2).flatten(0, 1)) + self.pos_embed[:, 1:]
        cls = self.cls_token + self.pos_embed[:, :1]
        if self.scheme != "space":
            places = patches.unflatten(0, (b, frames)).transpose(1, 2)
            patches = (places + self.time_embed).flatten(1, 2)
        tokens = torch.cat([cls.expand(patches.shape[0], -1, -1), patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens, frames) if self.scheme == "divided" else block(tokens)
        cls = tokens[:, 0]
        return self.norm(cls.unflatten(0, (b, frames)).mean(dim=1) if self.scheme == "space" else cls)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class TimeSformer(VideoModel):
    """Encoder and head; the vector that is classified is the class token ``[b, d]``."""

    image = "deit_base_patch16_224.fb_in1k"
    layouts = LAYOUTS

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """The class token. Raises UsageError for other frames or pixels than the positions are made for."""
        check_video(video, self.spec)
        return self.encoder(video)

    def in_backbone(self, name: str) -> bool:
        """All of the encoder but positions in time and the layers after attention over time, which an image lacks."""
        return name.startswith("encoder.") and "time_embed" not in name and "temporal_fc" not in name

    def image_weights(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Weights of a ViT or DeiT of timm. Attention over time starts as a copy of attention over space."""
        fitted = without_classifier(state, self.image)
        notes: list[str] = []
        if self.encoder.scheme == "divided":
            for name in [k for k in fitted if ".attn." in k or ".norm1." in k]:
                copy = name.replace(".attn.", ".temporal_attn.").replace(".norm1.", ".temporal_norm1.")
                fitted[copy] = fitted[name]
            notes.append("attention over time is a copy of attention over space")
        if "pos_embed" in fitted:
            fitted["pos_embed"] = _resize_places(fitted["pos_embed"], self.encoder.pos_embed, notes)
        return fitted, notes

    def fit_state(self, state: dict[str, Tensor], notes: list[str]) -> None:
        """Positions in space and time for another size or number of frames, from the nearest, as the authors do."""
        if _POSITIONS in state:
            state[_POSITIONS] = _resize_places(state[_POSITIONS], self.encoder.pos_embed, notes)
        own, given = self.state_dict().get(_TIMES), state.get(_TIMES)
        if own is None or given is None or given.ndim != 3 or given.shape[2] != own.shape[2]:
            return
        if given.shape[1] != own.shape[1]:
            state[_TIMES] = F.interpolate(given.transpose(1, 2), size=own.shape[1], mode="nearest").transpose(1, 2)
            notes.append(f"positions in time resized from {given.shape[1]} to {own.shape[1]} frames")


def _resize_places(given: Tensor, own: Tensor, notes: list[str]) -> Tensor:
    """Positions ``[1, 1 + rows * rows, d]`` for another grid; what is no such thing is passed on for comparison."""
    if given.ndim != 3 or given.shape[2] != own.shape[2] or given.shape == own.shape:
        return given
    old, new = (round((positions.shape[1] - 1) ** 0.5) for positions in (given, own))
    if old * old + 1 != given.shape[1]:
        return given
    grid = given[:, 1:].transpose(1, 2).unflatten(2, (old, old))
    resized = F.interpolate(grid, size=(new, new), mode="nearest").flatten(2).transpose(1, 2)
    notes.append(f"positions in space resized from {old} x {old} to {new} x {new}")
    return torch.cat([given[:, :1], resized], dim=1)


def build(order: Order, *, width: int = 768, heads: int = 12, depth: int = 12) -> TimeSformer:
    """The model of an order. Raises UsageError for a size that is no multiple of 16 pixels."""
    net, spec = order.only("attention", "drop_path", "dropout"), order.spec
    check_patches(order.card.name, spec.size, 16)
    encoder = SpaceTimeTransformer(
        scheme=net.attention or "divided",
        frames=spec.frames,
        size=spec.size,
        width=width,
        heads=heads,
        depth=depth,
        drop_path=0.1 if net.drop_path is None else net.drop_path,
    )
    return TimeSformer(encoder=encoder, head=Head(width, order.heads, net.dropout or 0.0), spec=spec)


_BOX = "https://www.dropbox.com/s/{}.pyth?dl=1"


def _release(name: str, address: str, frames: int, stride: int, size: int = 224) -> Release:
    """Weights of the authors; ``stride`` 0: one frame of each equal segment, as they sample Something-Something."""
    spec: dict[str, Any] = {"frames": frames, "size": size, "fit": "crop", **GREY}
    spec |= {"sampling": "dense", "stride": stride} if stride else {"sampling": "sparse"}
    sets = {"k400": KINETICS400, "k600": KINETICS600}
    classes = sets.get(name[:4], "something-something-v2, numbers of its labels file")
    return Release(name, address, classes, "CC-BY-NC-4.0", spec=spec)


RELEASES = (
    _release("k400", "hf:facebook/timesformer-base-finetuned-k400", 8, 32),
    _release("k600", "hf:facebook/timesformer-base-finetuned-k600", 8, 32),
    _release("ssv2", "hf:facebook/timesformer-base-finetuned-ssv2", 8, 0),
    _release("k400_448px", "hf:facebook/timesformer-hr-finetuned-k400", 16, 16, 448),
    _release("k600_448px", "hf:facebook/timesformer-hr-finetuned-k600", 16, 16, 448),
    _release("ssv2_448px", "hf:facebook/timesformer-hr-finetuned-ssv2", 16, 0, 448),
    _release("k400_authors", _BOX.format("g5t24we9gl5yk88/TimeSformer_divST_8x32_224_K400"), 8, 32),
    _release("k400_96f", _BOX.format("r1iuxahif3sgimo/TimeSformer_divST_96x4_224_K400"), 96, 4),
    _release("k600_96f", _BOX.format("857rx6xeclxfhdg/TimeSformer_divST_96x4_224_K600"), 96, 4),
    _release("ssv2_64f", _BOX.format("3f1rm2al8mhprwa/TimeSformer_divST_64_224_SSv2"), 64, 0),
)
SCORES = tuple(
    Score(data, top1, f"{frames} frames{f' every {stride}' if stride else ''}, 1 clip x 3 crops, {size}", "README")
    for data, top1, frames, stride, size in (
        ("kinetics400", 77.9, 8, 32, 224),
        ("kinetics400", 79.6, 16, 16, 448),
        ("kinetics400", 80.6, 96, 4, 224),
        ("kinetics600", 79.1, 8, 32, 224),
        ("kinetics600", 81.8, 16, 16, 448),
        ("kinetics600", 82.2, 96, 4, 224),
        ("something-something-v2", 59.1, 8, 0, 224),
        ("something-something-v2", 61.8, 16, 0, 448),
        ("something-something-v2", 62.0, 64, 0, 224),
    )
)


@register(
    summary="TimeSformer-Base, attention over time then space; 16 frames as in the lightweight benchmark",
    paper=PAPER,
    licence="Apache-2.0 (DeiT)",
    weights="deit_base_patch16_224.fb_in1k",
    spec=InputSpec(16, 224),
    params_m=121.572,
    source="counted; the official code at 16 frames gives the same",
    gmacs=392.07,
    origin="Blocks, MLP and attention are timm's; divided attention is written here, because timm has none",
    difference="The lightweight paper says 121.0M, the TimeSformer paper 121.4M (174 classes); neither is 400 classes",
    releases=RELEASES,
    scores=SCORES,
)
def timesformer(order: Order) -> TimeSformer:
    """ViT-B/16: width 768, 12 blocks, 12 heads."""
    return build(order)
