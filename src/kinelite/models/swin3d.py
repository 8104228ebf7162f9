"""Video Swin (2106.13230): attention in windows of space and time that are shifted from block to block.

The transformer is torchvision's, with its names below ``encoder.``; attention within windows is computed here, fused
and without passes over all scores for the bias, the mask and the softmax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d, SwinTransformer3d

from kinelite.models.biased_attention import biased_attention
from kinelite.models.checkpoints.layout import Layout
from kinelite.models.head import Head
from kinelite.models.model import VideoModel
from kinelite.models.registry import KINETICS400, KINETICS600, Order, Release, Score, register
from kinelite.types import IMAGENET_MEAN, IMAGENET_STD, InputSpec

PAPER = "Video Swin Transformer, arXiv 2106.13230"
WINDOW = (8, 7, 7)
MASKED = -100.0
"""What the authors add to the score of two tokens that only the shift brought into one window."""


class WindowAttention(ShiftedWindowAttention3d):
    """torchvision's attention in (shifted) windows, with the same parameters and results."""

    relative_position_index: Tensor

    def define_relative_position_index(self) -> None:
        """The row of the bias table for each pair of tokens in a window; derived, so it is not saved with weights."""
        super().define_relative_position_index()
        index = self.relative_position_index
        del self.relative_position_index
        self.register_buffer("relative_position_index", index, persistent=False)

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h w c"]:
        """Attention within windows; a side that is no longer than the window is one window and is not shifted."""
        b, *sides, c = x.shape
        window = [min(side, own) for side, own in zip(sides, self.window_size, strict=True)]
        shift = [
            0 if side <= own else by for side, own, by in zip(sides, self.window_size, self.shift_size, strict=True)
        ]
        grid = [-(-side // own) for side, own in zip(sides, window, strict=True)]
        padding = [n * own - side for n, own, side in zip(grid, window, sides, strict=True)]
        if any(padding):
            x = F.pad(x, (0, 0, 0, padding[2], 0, padding[1], 0, padding[0]))
        if any(shift):
            x = x.roll([-by for by in shift], (1, 2, 3))
        inside = window[0] * window[1] * window[2]
        blocks = x.reshape(b, grid[0], window[0], grid[1], window[1], grid[2], window[2], c)
        tokens = blocks.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, inside, c)

        qkv = self.qkv(tokens).reshape(tokens.shape[0], inside, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        mask = _mask(grid, window, shift, x) if any(shift) else None
        q, k, v = qkv.unbind()
        seen = biased_attention(q, k, v, self._bias(inside), mask)
        tokens = self.proj(seen.transpose(1, 2).reshape(-1, inside, c))

        blocks = tokens.reshape(b, *grid, *window, c).permute(0, 1, 4, 2, 5, 3, 6, 7)
        x = blocks.reshape(b, *(n * own for n, own in zip(grid, window, strict=True)), c)
        if any(shift):
            x = x.roll(shift, (1, 2, 3))
        return x[:, : sides[0], : sides[1], : sides[2]] if any(padding) else x

    def _bias(self, inside: int) -> Float[Tensor, "heads n n"]:
        # A window that is cut short in time takes the first rows of the index, as the authors' code does.
        index = self.relative_position_index[:inside, :inside]
        return self.relative_position_bias_table.t()[:, index]


def _mask(grid: list[int], window: list[int], shift: list[int], like: Tensor) -> Float[Tensor, "m n n"]:
    """Per window, 0 for two tokens that were neighbours before the shift and `MASKED` for others."""
    region = like.new_zeros(1, 1, 1)
    for side in range(3):
        # 1 for what the shift brought to the end from the beginning. The last window is the only one to hold both.
        brought = torch.arange(grid[side] * window[side], device=like.device) >= grid[side] * window[side] - shift[side]
        shape = [1, 1, 1]
        shape[side] = -1
        region = region + brought.to(like.dtype).view(shape) * 2**side
    blocks = region.reshape(grid[0], window[0], grid[1], window[1], grid[2], window[2])
    tokens = blocks.permute(0, 2, 4, 1, 3, 5).reshape(grid[0] * grid[1] * grid[2], -1)
    return (tokens.unsqueeze(1) != tokens.unsqueeze(2)).to(like.dtype) * MASKED


def _block(*args: Any, attn_layer: Any, **settings: Any) -> SwinTransformerBlock:
    return SwinTransformerBlock(*args, attn_layer=WindowAttention, **settings)


_STAGES = tuple(
    rename
    for stage in range(4)
    for rename in (
        (rf"^layers\.{stage}\.blocks\.", f"features.{2 * stage}."),
        (rf"^layers\.{stage}\.downsample\.", f"features.{2 * stage + 1}."),
    )
)
_MLP = ((r"\.mlp\.fc1\.", ".mlp.0."), (r"\.mlp\.fc2\.", ".mlp.3."))
_DERIVED = r"(relative_position_index|attn_mask)$"


class VideoSwin(VideoModel):
    """Encoder and head; the vector that is classified is the mean over space and time ``[b, d]``."""

    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "torchvision",
            marks=(r"^patch_embed\.proj\.weight$", r"^features\.0\.0\.attn\.relative_position_bias_table$"),
            rename=((r"^(?!head\.)", "encoder."),),
            drop=(_DERIVED,),
            spec={"mean": IMAGENET_MEAN, "std": IMAGENET_STD},
        ),
        Layout(
            "Video Swin's authors",
            marks=(r"^backbone\.layers\.0\.blocks\.0\.attn\.relative_position_bias_table$",),
            rename=(
                (r"^backbone\.", ""),
                (r"^cls_head\.fc_cls\.", "head."),
                *_STAGES,
                *_MLP,
                (r"^(?!head\.)", "encoder."),
            ),
            drop=(_DERIVED,),
            spec={"mean": IMAGENET_MEAN, "std": IMAGENET_STD},
        ),
    )

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """Mean of all tokens. Frames, height and width may be any: what is no multiple of a window is padded."""
        return self.encoder(video)

    def image_weights(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Weights of a 2-D Swin with windows of 7 x 7, by timm's names or its authors' (2106.13230, section 3.3).

        The patch kernel is spread evenly over its 2 frames. The biases by distance in space are the same at each
        distance in time.
        """
        kept = {k: v.float() for k, v in state.items() if not re.search(_DERIVED, k) and not k.startswith("head.")}
        # timm reduces at the beginning of a stage, the authors at the end of the one before.
        early = int("layers.0.downsample.norm.weight" not in state)
        fitted = {}
        for name, value in kept.items():
            name = re.sub(r"^layers\.(\d)\.blocks\.", lambda found: f"features.{2 * int(found[1])}.", name)
            name = re.sub(
                r"^layers\.(\d)\.downsample\.", lambda found: f"features.{2 * (int(found[1]) - early) + 1}.", name
            )
            name = re.sub(r"\.mlp\.fc(\d)\.", lambda found: f".mlp.{(int(found[1]) - 1) * 3}.", name)
            fitted[name] = value
        kernel, notes = fitted.get("patch_embed.proj.weight"), []
        if kernel is not None and kernel.ndim == 4:
            fitted["patch_embed.proj.weight"] = kernel.unsqueeze(2).repeat(1, 1, 2, 1, 1) / 2
            notes.append("patch kernel inflated to 2 frames (average)")
        distances = (2 * WINDOW[1] - 1) * (2 * WINDOW[2] - 1)
        for name in [k for k in fitted if k.endswith("relative_position_bias_table")]:
            if len(fitted[name]) == distances:
                fitted[name] = fitted[name].repeat(2 * WINDOW[0] - 1, 1)
        return fitted, notes


def build(order: Order, *, width: int, depths: tuple[int, ...], heads: tuple[int, ...], drop_path: float) -> VideoSwin:
    """The model of an order: ``width`` channels and ``heads[0]`` heads in the first of the stages."""
    net = order.only("drop_path", "dropout")
    encoder = SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=width,
        depths=list(depths),
        num_heads=list(heads),
        window_size=list(WINDOW),
        stochastic_depth_prob=drop_path if net.drop_path is None else net.drop_path,
        block=_block,
    )
    encoder.head = nn.Identity()  # type: ignore[assignment]
    head = Head(encoder.num_features, order.heads, 0.5 if net.dropout is None else net.dropout)
    model = VideoSwin(encoder=encoder, head=head, spec=order.spec)
    model.image = order.card.weights
    return model


_AUTHORS = "https://github.com/SwinTransformer/storage/releases/download/v1.0.4/swin_{}_patch244_window877_{}.pth"
_TORCHVISION = "https://download.pytorch.org/models/{}.pth"
_ORIGIN = (
    "torchvision's SwinTransformer3d (bit-equal to the authors' code after renaming); attention in windows is computed "
    "here, because torchvision does not fuse it"
)
_TRAINED = {"frames": 32, "sampling": "dense", "stride": 2, "fit": "crop"}


def _releases(size: str, file: str, more: tuple[Release, ...] = ()) -> tuple[Release, ...]:
    authors = _AUTHORS.format(size, "kinetics400_1k")
    return (
        Release("k400", _TORCHVISION.format(file), KINETICS400, "Apache-2.0", file[-8:], spec=_TRAINED),
        Release("k400_authors", authors, KINETICS400, "Apache-2.0", spec=_TRAINED),
        *more,
    )


def _scores(authors: float, torchvision: float) -> tuple[Score, ...]:
    protocol = "32 frames every 2, 4 clips x 3 crops, 224"
    return (
        Score("kinetics400", authors, protocol, "Video Swin's README"),
        Score("kinetics400", torchvision, "32 frames every 2, 12 clips, 224", "torchvision, k400"),
    )


@register(
    summary="Video Swin-T: attention in shifted windows of space and time; 16 frames as in the lightweight benchmark",
    paper=PAPER,
    licence="Apache-2.0",
    weights="swin_tiny_patch4_window7_224.ms_in1k",
    spec=InputSpec(16, 224),
    params_m=28.158,
    source="counted; torchvision says the same",
    gmacs=43.88,
    origin=_ORIGIN,
    difference="The lightweight paper says 28.0M, the authors' README 28M; 87.76 GMACs at the authors' 32 frames",
    releases=_releases("tiny", "swin3d_t-7615ae03"),
    scores=_scores(78.8, 77.715),
)
def swin3d_t(order: Order) -> VideoSwin:
    """Width 96, 2 + 2 + 6 + 2 blocks."""
    return build(order, width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), drop_path=0.1)


@register(
    summary="Video Swin-S: Swin-T with 18 blocks in its third stage",
    paper=PAPER,
    licence="Apache-2.0",
    weights="swin_small_patch4_window7_224.ms_in1k",
    spec=InputSpec(32, 224, stride=2, sampling="dense", fit="crop"),
    params_m=49.817,
    source="torchvision; the authors say 50M",
    gmacs=165.68,
    origin=_ORIGIN,
    releases=_releases("small", "swin3d_s-da41c237"),
    scores=_scores(80.6, 79.521),
)
def swin3d_s(order: Order) -> VideoSwin:
    """Width 96, 2 + 2 + 18 + 2 blocks."""
    return build(order, width=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24), drop_path=0.1)


@register(
    summary="Video Swin-B: Swin-S with 128 channels",
    paper=PAPER,
    licence="Apache-2.0",
    weights="swin_base_patch4_window7_224.ms_in1k",
    spec=InputSpec(32, 224, stride=2, sampling="dense", fit="crop"),
    params_m=88.049,
    source="torchvision; the authors say 88M",
    gmacs=281.33,
    origin=_ORIGIN,
    releases=_releases(
        "base",
        "swin3d_b_1k-24f7c7c6",
        (
            Release("k400_22k", _TORCHVISION.format("swin3d_b_22k-7c6ae6fa"), KINETICS400, "Apache-2.0", "7c6ae6fa"),
            Release("k600_22k", _AUTHORS.format("base", "kinetics600_22k"), KINETICS600, "Apache-2.0"),
        ),
    ),
    scores=_scores(80.6, 79.427),
)
def swin3d_b(order: Order) -> VideoSwin:
    """Width 128, 2 + 2 + 18 + 2 blocks."""
    return build(order, width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), drop_path=0.3)
