"""VideoMAE (2203.12602) and VideoMAE V2 as their authors and transformers store them: the blocks of the encoder."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from kinelite.models.checkpoints.layout import Layout, State

_QKV = ("q", "k", "v")


def _stacked(model: nn.Module, state: State) -> State:
    """Blocks alone, with one matrix and one bias for queries, keys and values, as timm's blocks have them.

    VideoMAE's keys have no bias, which changes nothing: it would add the same to all weights of a query.
    """
    result = {name: t for name, t in state.items() if name.startswith("blocks.") and not _part(name)}
    for name, tensor in state.items():
        if name.startswith("blocks.") and name.endswith(".attn.k.weight"):
            block = name.removesuffix("k.weight")
            result[f"{block}qkv.weight"] = torch.cat([state[f"{block}{part}.weight"] for part in _QKV])
        if name.startswith("blocks.") and name.endswith(".attn.q.bias"):
            block, none = name.removesuffix("q.bias"), torch.zeros_like(tensor)
            result[f"{block}qkv.bias"] = torch.cat([state.get(f"{block}{part}.bias", none) for part in _QKV])
    return result


def _part(name: str) -> bool:
    return re.search(r"\.attn\.[qkv]\.(weight|bias)$", name) is not None


def blocks_of(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors of each block by their names within it, first block first. Takes what a layout here translated."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        _, number, within = name.split(".", 2)
        found.setdefault(int(number), {})[within] = tensor
    return [found[number] for number in sorted(found)]


OFFICIAL = Layout(
    name="VideoMAE",
    marks=(r"^(encoder\.)?blocks\.0\.attn\.q_bias$", r"^(encoder\.)?blocks\.0\.attn\.qkv\.weight$"),
    rename=((r"^encoder\.blocks\.", "blocks."), (r"\.attn\.([qkv])_bias$", r".attn.\1.bias")),
    convert=_stacked,
)

TRANSFORMERS = Layout(
    name="VideoMAE of transformers",
    marks=(r"^(videomae\.)?encoder\.layer\.0\.attention\.attention\.query\.weight$",),
    rename=(
        (r"^(?:videomae\.)?encoder\.layer\.", "blocks."),
        (r"\.attention\.attention\.([qkv])_bias$", r".attn.\1.bias"),
        (r"\.attention\.attention\.([qkv])(?:uery|ey|alue)\.", r".attn.\1."),
        (r"\.attention\.output\.dense\.", ".attn.proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
    ),
    convert=_stacked,
)

LAYOUTS = (OFFICIAL, TRANSFORMERS)
