"""MViT (2104.11227): a transformer that pools its tokens on the way, and the keys and values of its attention.

Parameters are torchvision's, with its names below ``encoder.``. What is computed with them is written here: torchvision
turns the tokens of each pooling into a video with channels first and back, and does not fuse attention.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.video.mvit import MSBlockConfig, MultiscaleBlock, MViT

from kinelite.models.checkpoints.mvit import LAYOUTS
from kinelite.models.depthwise import depthwise_conv3d
from kinelite.models.head import Head
from kinelite.models.model import VideoModel
from kinelite.models.registry import KINETICS400, KINETICS600, Order, Release, Score, register
from kinelite.models.sizes import check_patches, check_video
from kinelite.types import GREY_MEAN, GREY_STD, InputSpec

PAPER = "Multiscale Vision Transformers, arXiv 2104.11227"
Grid = tuple[int, int, int]


class PooledTransformer(MViT):
    """torchvision's MViT without its classifier. ``video [b, c, t, h, w]`` becomes the class token ``[b, d]``."""

    def __init__(self, blocks: list[MSBlockConfig], grid: Grid, stem: dict[str, Any], drop_path: float) -> None:
        stride = stem["patch_embed_stride"]
        super().__init__(
            spatial_size=(grid[1] * stride[1], grid[2] * stride[2]),
            temporal_size=grid[0] * stride[0],
            block_setting=blocks,
            residual_pool=False,
            residual_with_cls_embed=False,
            rel_pos_embed=False,
            proj_after_attn=False,
            stochastic_depth_prob=drop_path,
            block=PooledBlock,
            **stem,
        )
        self.head = nn.Identity()  # type: ignore[assignment]
        self.grid = grid

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """The class token after the last norm."""
        positions: Any = self.pos_encoding
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        place = (positions.temporal_pos.unsqueeze(1) + positions.spatial_pos).flatten(0, 1)
        cls = (positions.class_token + positions.class_pos).expand(patches.shape[0], 1, -1)
        tokens, grid = torch.cat([cls, patches + place], dim=1), self.grid
        for block in self.blocks:
            tokens, grid = block(tokens, grid)
        return self.norm(tokens[:, 0])


class PooledBlock(MultiscaleBlock):
    """torchvision's block; a token grid ``[b, 1 + t h w, d]`` behind its class token may come out smaller and wider."""

    def forward(self, x: Float[Tensor, "b n d"], thw: Grid) -> tuple[Float[Tensor, "b m e"], Grid]:
        """Tokens and grid after the block."""
        seen, smaller = self._attend(self.norm1(x), thw)
        skip = x if self.pool_skip is None else _max_pool(x, thw, self.pool_skip)
        x = skip + self.stochastic_depth(seen)
        normed = self.norm2(x)
        wide = x if self.project is None else self.project(normed)
        return wide + self.stochastic_depth(self.mlp(normed)), smaller

    def _attend(self, x: Float[Tensor, "b n d"], thw: Grid) -> tuple[Float[Tensor, "b m d"], Grid]:
        attn, (b, _, width) = self.attn, x.shape
        qkv, smaller = attn.qkv(x), thw
        split = (-1, attn.num_heads, attn.head_dim)
        if attn.pool_q is None:
            q = qkv[..., :width].unflatten(2, split[1:])
        else:
            (q,), smaller = _pool(qkv[..., :width], thw, attn.head_dim, attn.pool_q)
        if attn.pool_k is None:
            k, v = qkv[..., width:].unflatten(2, (2, *split[1:])).unbind(2)
        else:
            (k, v), _ = _pool(qkv[..., width:], thw, attn.head_dim, attn.pool_k, attn.pool_v)
        seen = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return attn.project(seen.transpose(1, 2).reshape(b, -1, width)), smaller


def _pool(tokens: Tensor, thw: Grid, head_dim: int, *pools: Any) -> tuple[list[Tensor], Grid]:
    """Queries, or keys and values at once: a depthwise convolution of the grid, then a norm of each head's vector.

    All heads have the same kernels. The class token is normed alone. Each result is ``[b, 1 + grid, heads, head_dim]``.
    """
    heads = tokens.shape[2] // head_dim // len(pools)
    weight = torch.cat([pool.pool.weight.repeat(heads, 1, 1, 1, 1) for pool in pools])
    video = tokens[:, 1:].unflatten(1, thw).permute(0, 4, 1, 2, 3)
    pooled = depthwise_conv3d(video, weight, pools[0].pool.stride[-1])
    grid = (pooled.shape[2], pooled.shape[3], pooled.shape[4])
    joined = torch.cat([tokens[:, :1], pooled.permute(0, 2, 3, 4, 1).flatten(1, 3)], dim=1)
    parts = joined.unflatten(2, (len(pools), heads, head_dim)).unbind(2)
    return [pool.norm_act(part) for pool, part in zip(pools, parts, strict=True)], grid


def _max_pool(tokens: Tensor, thw: Grid, pool: Any) -> Tensor:
    """The skip path of a block with fewer queries: largest value of each 3 x 3, frame by frame."""
    kernel, stride, padding = (size[1:] for size in (pool.pool.kernel_size, pool.pool.stride, pool.pool.padding))
    frames = tokens[:, 1:].reshape(-1, *thw[1:], tokens.shape[2]).permute(0, 3, 1, 2)
    pooled = F.max_pool2d(frames, kernel, stride, padding).permute(0, 2, 3, 1)
    return torch.cat([tokens[:, :1], pooled.reshape(tokens.shape[0], -1, tokens.shape[2])], dim=1)


class MultiscaleTransformer(VideoModel):
    """Encoder and head; the vector that is classified is the class token ``[b, d]``."""

    layouts = LAYOUTS

    def forward_features(self, video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """The class token. Raises UsageError for other frames or pixels than the positions are made for."""
        check_video(video, self.spec)
        return self.encoder(video)

    def fit_state(self, state: dict[str, Tensor], notes: list[str]) -> None:
        """Positions in space and time interpolated linearly for another size or number of frames."""
        for name, what in ((f"{_POSITIONS}.spatial_pos", "space"), (f"{_POSITIONS}.temporal_pos", "time")):
            own, given = self.state_dict()[name], state.get(name)
            if given is None or given.ndim != 2 or given.shape == own.shape or given.shape[1] != own.shape[1]:
                continue
            sides = [round(len(p) ** 0.5) for p in (given, own)] if what == "space" else [len(given), len(own)]
            if what == "space" and sides[0] ** 2 != len(given):
                continue
            state[name] = _interpolate(given, *sides, square=what == "space")
            notes.append(f"positions in {what} interpolated from {sides[0]} to {sides[1]} steps")


_POSITIONS = "encoder.pos_encoding"


def _interpolate(positions: Tensor, old: int, new: int, *, square: bool) -> Tensor:
    grid = positions.t().unsqueeze(0)
    if square:
        found = F.interpolate(grid.unflatten(2, (old, old)), size=(new, new), mode="bilinear").flatten(2)
    else:
        found = F.interpolate(grid, size=new, mode="linear")
    return found[0].t()


def build(
    order: Order, *, width: int, patch: int, blocks: list[MSBlockConfig], stem: dict[str, Any]
) -> MultiscaleTransformer:
    """The model of an order. Raises UsageError for a size that is no multiple of a patch."""
    net, spec = order.only("drop_path", "dropout"), order.spec
    check_patches(order.card.name, spec.size, patch)
    # The stem looks one frame beyond both ends, so that an odd number of frames has half a step more.
    grid = ((spec.frames + 1) // 2, spec.size // patch, spec.size // patch)
    encoder = PooledTransformer(blocks, grid, stem, 0.2 if net.drop_path is None else net.drop_path)
    head = Head(width, order.heads, 0.5 if net.dropout is None else net.dropout)
    return MultiscaleTransformer(encoder=encoder, head=head, spec=spec)


def blocks_of(
    widths: list[int], heads: list[int], key_strides: list[int], pooled: tuple[int, ...]
) -> list[MSBlockConfig]:
    """Settings of the blocks: channels going in (and out of the last), heads, stride of keys and values in space.

    The queries of the blocks in ``pooled`` are halved in height and width.
    """
    return [
        MSBlockConfig(
            num_heads=heads[i],
            input_channels=widths[i],
            output_channels=widths[i + 1],
            kernel_q=[3, 3, 3] if i in pooled else [],
            kernel_kv=[3, 3, 3],
            stride_q=[1, 2, 2] if i in pooled else [],
            stride_kv=[1, key_strides[i], key_strides[i]],
        )
        for i in range(len(heads))
    ]


_TORCHVISION = "https://download.pytorch.org/models/{}.pth"
_PYTORCHVIDEO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/{}.pyth"
_PYSLOWFAST = "https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/mvit/{}.pyth"
_LONG = {"frames": 32, "stride": 3}


@register(
    summary="MViT-S: 16 blocks in three scales, patches of 3 x 8 x 8; the lightweight benchmark's",
    paper=PAPER,
    licence="no published weights",
    weights="",
    spec=InputSpec(16, 224, GREY_MEAN, GREY_STD),
    params_m=26.038,
    source="counted from the paper's table; the paper says 26.1M",
    gmacs=29.95,
    origin="Parameters and blocks are torchvision's; pooling and attention are computed here, for speed",
    difference="The paper says 26.1M and 32.9 GMACs; neither its configuration nor weights were ever published",
    scores=(Score("kinetics400", 76.0, "16 frames every 4, 5 clips x 1 crop, 224", "MViT paper, from scratch"),),
)
def mvit_s(order: Order) -> MultiscaleTransformer:
    """128 channels in 3 blocks, 256 in 7, 512 in 6; 128 per head."""
    blocks = blocks_of(
        [128] * 3 + [256] * 7 + [512] * 7, [1] * 3 + [2] * 7 + [4] * 6, [4] * 3 + [2] * 7 + [1] * 6, (3, 10)
    )
    stem = {"patch_embed_kernel": (3, 8, 8), "patch_embed_stride": (2, 8, 8), "patch_embed_padding": (1, 0, 0)}
    return build(order, width=512, patch=8, blocks=blocks, stem=stem)


@register(
    summary="MViT-B 16x4: 16 blocks in four scales, patches of 3 x 7 x 7 every 4 pixels",
    paper=PAPER,
    licence="BSD-3-Clause (torchvision)",
    weights="",
    spec=InputSpec(16, 224, GREY_MEAN, GREY_STD, "dense", 4, "crop"),
    params_m=36.611,
    source="torchvision",
    gmacs=70.60,
    origin="Parameters and blocks are torchvision's; pooling and attention are computed here, for speed",
    releases=(
        Release("k400", _TORCHVISION.format("mvit_v1_b-dbeb1030"), KINETICS400, "BSD-3-Clause", "dbeb1030"),
        Release("k400_pytorchvideo", _PYTORCHVIDEO.format("kinetics/MVIT_B_16x4"), KINETICS400, "Apache-2.0"),
        Release(
            "k400_32f", _PYTORCHVIDEO.format("kinetics/MVIT_B_32x3_f294077834"), KINETICS400, "Apache-2.0", spec=_LONG
        ),
        Release("k400_32f_pyslowfast", _PYSLOWFAST.format("k400"), KINETICS400, "Apache-2.0", spec=_LONG),
        Release("k600_32f_pyslowfast", _PYSLOWFAST.format("k600"), KINETICS600, "Apache-2.0", spec=_LONG),
    ),
    scores=(
        Score("kinetics400", 78.477, "16 frames at 7.5 per second, 5 clips, 224", "torchvision, k400"),
        Score("kinetics400", 78.85, "16 frames every 4, 5 clips x 1 crop, 224", "PyTorchVideo, k400_pytorchvideo"),
        Score("kinetics400", 80.30, "32 frames every 3, 5 clips x 1 crop, 224", "PyTorchVideo, k400_32f"),
        Score("kinetics400", 80.4, "32 frames every 3, 5 clips x 1 crop, 224", "PySlowFast, k400_32f_pyslowfast"),
        Score("kinetics600", 83.9, "32 frames every 3, 5 clips x 1 crop, 224", "PySlowFast, k600_32f_pyslowfast"),
    ),
)
def mvit_b(order: Order) -> MultiscaleTransformer:
    """96 channels in the first block, 192 in 2, 384 in 11, 768 in 2; 96 per head."""
    blocks = blocks_of(
        [96] + [192] * 2 + [384] * 11 + [768] * 3,
        [1] + [2] * 2 + [4] * 11 + [8] * 2,
        [8] + [4] * 2 + [2] * 11 + [1] * 2,
        (1, 3, 14),
    )
    stem = {"patch_embed_kernel": (3, 7, 7), "patch_embed_stride": (2, 4, 4), "patch_embed_padding": (1, 3, 3)}
    return build(order, width=768, patch=4, blocks=blocks, stem=stem)
