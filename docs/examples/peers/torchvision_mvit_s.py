"""torchvision's MViT with the sizes of MViT-S, which it has no name for."""

from __future__ import annotations

from torch import nn
from torchvision.models.video.mvit import MSBlockConfig, MViT


def build(frames: int, size: int, classes: int) -> nn.Module:
    """It takes ``[b, c, t, h, w]`` of the frames and pixels that it is built for."""
    widths = [128] * 3 + [256] * 7 + [512] * 7
    blocks = []
    for i in range(16):
        stride = {128: 4, 256: 2, 512: 1}[widths[i]]
        fewer = i in (3, 10)
        blocks.append(
            MSBlockConfig(
                num_heads=widths[i] // 128,
                input_channels=widths[i],
                output_channels=widths[i + 1],
                kernel_q=[3, 3, 3] if fewer else [],
                kernel_kv=[3, 3, 3],
                stride_q=[1, 2, 2] if fewer else [],
                stride_kv=[1, stride, stride],
            )
        )
    return MViT(
        spatial_size=(size, size),
        temporal_size=frames,
        block_setting=blocks,
        residual_pool=False,
        residual_with_cls_embed=False,
        rel_pos_embed=False,
        proj_after_attn=False,
        stochastic_depth_prob=0.2,
        num_classes=classes,
        patch_embed_kernel=(3, 8, 8),
        patch_embed_stride=(2, 8, 8),
        patch_embed_padding=(1, 0, 0),
    )
