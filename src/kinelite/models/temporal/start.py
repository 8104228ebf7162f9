"""A transformer over time that starts from a video transformer instead of random weights."""

from __future__ import annotations

import os
from collections.abc import Mapping

from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.models.checkpoints.files import read_checkpoint
from kinelite.models.checkpoints.hub import find_weights
from kinelite.models.checkpoints.layout import Layout, find_layout
from kinelite.models.checkpoints.misfit import refuse_misfit
from kinelite.models.checkpoints.videomae import LAYOUTS, blocks_of
from kinelite.models.temporal.transformer import TemporalTransformer


def load_temporal(model: nn.Module, source: str | os.PathLike[str] | Mapping[str, Tensor]) -> str:
    """Fill the blocks of a model's transformer over time from the last blocks of a VideoMAE, and say so in a sentence.

    Ablation IV of *Optimizing ViViT* (2306.04822, section 4.3, Table 1). The paper does not say which blocks, nor what
    becomes of the rest. Ours: as many of the last blocks as the model has layers, in their order; class token,
    positions and last norm stay new, for VideoMAE has no class token, fixed positions and another number of them.

    Args:
        model: a factorised model with ``net.temporal`` transformer, on any device.
        source: ``hf:OWNER/REPOSITORY[@REVISION][/FILE]``, an https address, a file or a state dict, pretrained or
            fine-tuned, with the names of the authors' code (VideoMAE and V2) or of transformers.

    Raises:
        UsageError: a model without such a part, other weights, or another width or fewer blocks. It is unchanged.
        SetupError: the file cannot be fetched.
    """
    part = getattr(model, "temporal", None)
    if not isinstance(part, TemporalTransformer):
        raise UsageError("--temporal-init fills a transformer over time, and this model has none. Models: vivit_fe_*.")
    state, label = _read(source)
    layout = find_layout(LAYOUTS, state)
    if layout is None:
        known = " or ".join(layout.name for layout in LAYOUTS)
        raise UsageError(
            f"--temporal-init {label}: its names, such as {next(iter(state), 'none')}, are not those of {known}."
        )
    blocks = _blocks(part, layout, state, label)
    _check_sizes(part, blocks, label)
    first = len(blocks) - len(part.blocks)
    given = {f"{i}.{name}": t for i, block in enumerate(blocks[first:]) for name, t in block.items()}
    refuse_misfit(label, "the transformer over time", part.blocks.state_dict(), given)
    part.blocks.load_state_dict(given)
    which = f"blocks {first + 1} to {len(blocks)}" if first + 1 < len(blocks) else f"block {len(blocks)}"
    return f"transformer over time from {which} of {len(blocks)} of {label} (names of {layout.name}), else new"


def _read(source: str | os.PathLike[str] | Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    if isinstance(source, Mapping):
        return dict(source), "memory"
    found = find_weights(str(source))
    return read_checkpoint(found.path), found.label


def _blocks(part: nn.Module, layout: Layout, state: dict[str, Tensor], label: str) -> list[dict[str, Tensor]]:
    try:
        return blocks_of(layout.translate(part, state))
    except (KeyError, RuntimeError, ValueError) as error:  # a damaged file: a tensor is missing or of another shape
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"--temporal-init {label} has names of {layout.name}, but is not whole: {what}.") from error


def _check_sizes(part: TemporalTransformer, blocks: list[dict[str, Tensor]], label: str) -> None:
    own = len(part.blocks)
    width = next((block["norm1.weight"].numel() for block in blocks if "norm1.weight" in block), part.width)
    if width != part.width:
        raise UsageError(
            f"--temporal-init {label} is {width} wide and the transformer over time {part.width}: take a model and a "
            "VideoMAE of one width (384: vivit_fe_s, 768: vivit_fe_b, 1024: vivit_fe_l, 1280: vivit_fe_h)."
        )
    if len(blocks) < own:
        raise UsageError(
            f"--temporal-init {label} has {len(blocks)} blocks and the transformer over time {own}: "
            f"--net.temporal-layers {len(blocks)} or fewer."
        )
