"""Names of MViT's published checkpoints (2104.11227): torchvision's, PySlowFast's and PyTorchVideo's."""

from __future__ import annotations

import re

import torch
from torch import nn

from kinelite.models.checkpoints.layout import GREY, Layout, State

_BLOCKS = (
    (r"\.attn\.proj\.", ".attn.project.0."),
    (r"\.attn\.pool_([qkv])\.weight$", r".attn.pool_\1.pool.weight"),
    (r"\.attn\.norm_([qkv])\.", r".attn.pool_\1.norm_act.0."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^(blocks\.\d+)\.proj\.", r"\1.project."),
)
_POSITIONS = (
    (r"^cls_token$", "pos_encoding.class_token"),
    (r"^pos_embed_(spatial|temporal|class)$", r"pos_encoding.\1_pos"),
)
_OURS = (r"^(?!head\.)", "encoder.")


def _fuse(model: nn.Module, state: State) -> State:
    """Queries, keys and values from three layers in one; positions without their batch of one."""
    fused: State = {}
    for name, tensor in state.items():
        third = re.fullmatch(r"(.*\.attn\.)q\.(weight|bias)", name)
        if third:
            parts = [state.get(f"{third[1]}{part}.{third[2]}") for part in "qkv"]
            whole = [part for part in parts if part is not None]
            fused[f"{third[1]}qkv.{third[2]}"] = torch.cat(whole)
        elif re.fullmatch(r".*\.attn\.[kv]\.(weight|bias)", name):
            if name.replace(".attn.k.", ".attn.q.").replace(".attn.v.", ".attn.q.") not in state:
                fused[name] = tensor
        elif "pos_encoding." in name:
            alone = tensor.ndim == 3 and len(tensor) == 1
            fused[name] = tensor[0, 0] if alone and "class_" in name else tensor[0] if alone else tensor
        else:
            fused[name] = tensor
    return fused


LAYOUTS = (
    Layout(
        "torchvision",
        marks=(r"^conv_proj\.weight$", r"^pos_encoding\.class_token$"),
        rename=((r"^head\.1\.", "head."), _OURS),
        spec=GREY,
    ),
    Layout(
        "PySlowFast",
        marks=(r"^patch_embed\.proj\.weight$", r"^pos_embed_spatial$"),
        rename=(
            *_POSITIONS,
            *_BLOCKS,
            (r"^patch_embed\.proj\.", "conv_proj."),
            (r"^head\.projection\.", "head."),
            _OURS,
        ),
        convert=_fuse,
        spec=GREY,
    ),
    Layout(
        "PyTorchVideo",
        marks=(r"^patch_embed\.patch_model\.weight$", r"^cls_positional_encoding\.cls_token$"),
        rename=(
            (r"^cls_positional_encoding\.", ""),
            *_POSITIONS,
            *_BLOCKS,
            (r"^patch_embed\.patch_model\.", "conv_proj."),
            (r"^norm_embed\.", "norm."),
            (r"^head\.proj\.", "head."),
            _OURS,
        ),
        # The same tensors under a second name, which the pooling of newer versions gives them.
        drop=(r"\._attention_pool_[qkv]\.",),
        convert=_fuse,
        spec=GREY,
    ),
)
"""What `kinelite.models.mvit` can start from."""
