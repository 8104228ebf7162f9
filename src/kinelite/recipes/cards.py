"""How many clips of ViViT a step can take at a time on a card of 12 or 24 GB: estimated in closed form, without torch.

Mixed precision, SGD with momentum. Weights that train take 4 bytes each, as much again for the gradient and for the
momentum, and 2 for the half-precision copy that autocast keeps during the forward pass; frozen ones take 4. A
transformer block of width d and MLP width m keeps for the backward pass, per token: both inputs of its norms (4d each),
their results (2d each), q, k and v (6d), the attention's result (2d), input and result of the GELU (2m each); with
`memory.recompute` only its input (4d), and the rest of one block at a time. The planner traces the real step;
docs/recipes.md has both, and a test holds them together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

GIB = 1024**3
TEMPORAL_LAYERS = 4


@dataclass(frozen=True)
class Card:
    """What a card offers."""

    name: str
    free_gib: float
    """What is left for tensors, in GiB: context, cuBLAS and fragmentation taken off. 12 GB is reckoned as the 11 GiB of
    a 2080 Ti, the paper's card."""
    precision: Literal["bf16", "fp16"]
    """fp16 where cards of that size may have no bf16."""


CARDS = {"12gb": Card("12 GB", 10.0, "fp16"), "24gb": Card("24 GB", 22.0, "bf16")}


@dataclass(frozen=True)
class Size:
    """A size of ViViT (section 4.2): spatial transformer, and the temporal one of the same width."""

    params: float
    layers: int
    width: int
    mlp: int
    patch: int = 16
    tubelet: int = 2

    def tokens(self, size_px: int) -> int:
        """Patches of a tubelet and the class token."""
        return (size_px // self.patch) ** 2 + 1

    @property
    def block_bytes(self) -> int:
        """What a block keeps of one token."""
        return 20 * self.width + 4 * self.mlp

    @property
    def temporal_params(self) -> int:
        """Weights after the encoder: temporal transformer and adapter."""
        return TEMPORAL_LAYERS * (4 * self.width**2 + 2 * self.width * self.mlp) + 2 * self.width**2


SIZES = {
    "vivit_fe_b": Size(115.1e6, 12, 768, 3072),
    "vivit_fe_l": Size(354.9e6, 24, 1024, 4096),
    "vivit_fe_h": Size(711.2e6, 32, 1280, 5120),
    "vivit_fe_g": Size(1113.6e6, 40, 1408, 6144, patch=14),
}
"""Base, large, huge and giant."""


def size_of(model: str, encoder: str | None = None) -> Size:
    """The size of a model, with the patch that the name of another encoder tells (vit_huge_patch14_224)."""
    found = SIZES[model]
    patch = re.search(r"patch(\d+)", encoder or "")
    return Size(found.params, found.layers, found.width, found.mlp, int(patch.group(1))) if patch else found


def step_gib(
    size: Size, frames: int, clips: int, *, frozen: bool = False, recompute: bool = False, size_px: int = 224
) -> float:
    """Estimated peak memory of a training step in GiB, ``clips`` of ``frames`` frames at a time, gradients accumulated.

    ``frozen``: the encoder's features come from a store, and only what is after it trains.
    """
    tubelets, tokens = clips * frames / size.tubelet, size.tokens(size_px)
    temporal = tubelets * TEMPORAL_LAYERS * size.block_bytes
    if frozen:
        return (4 * size.params + 10 * size.temporal_params + temporal + tubelets * 14 * size.width) / GIB
    kept = size.layers * size.block_bytes
    if recompute:
        kept = size.layers * 4 * size.width + size.block_bytes
    # Pixels: the normalised video, and its half-precision copy for the gradient of the first layer.
    pixels = tubelets * size.tubelet * 3 * size_px**2 * 6
    return (14 * size.params + tubelets * tokens * kept + temporal + pixels) / GIB


def clips_that_fit(
    size: Size, card: Card, frames: int, most: int, *, frozen: bool = False, recompute: bool = False, size_px: int = 224
) -> int:
    """The largest power of two up to ``most`` by `step_gib`, or 0 when not even one clip fits."""
    fits = [
        clips
        for clips in (2**power for power in range(most.bit_length()))
        if clips <= most
        and step_gib(size, frames, clips, frozen=frozen, recompute=recompute, size_px=size_px) <= card.free_gib
    ]
    return max(fits, default=0)
