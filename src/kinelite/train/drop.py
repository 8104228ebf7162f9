"""Patches that a training step leaves out, at random: a vision transformer that trains on fewer tokens.

"PatchDropout", 2208.07220, and "Scaling Language-Image Pre-training via Masking", 2212.00794. Evaluation and frozen
encoders see all patches. The mechanism is timm's.
"""

from __future__ import annotations

from typing import Any

from timm.layers.patch_dropout import PatchDropout, PatchDropoutWithIndices
from torch import nn

from kinelite.errors import UsageError
from kinelite.train.stage import frozen_encoder


def drop_tokens(model: nn.Module, share: float, name: str, stage: str) -> None:
    """Let the encoder of ``model`` leave out a ``share`` of the patches of each tubelet in training, 0 none.

    Raises UsageError, with the names of model and stage, where there are no patches that could be left out: in models
    whose encoder is not one transformer per tubelet, and in a stage that freezes it.
    """
    if share == 0:
        return
    encoder: Any = getattr(model, "encoder", None)
    if not hasattr(encoder, "patch_drop"):
        raise UsageError(
            f"drop_tokens {share:g} in stage '{stage}': '{name}' has no vision transformer over the patches of each "
            "tubelet. Models that can leave patches out: vivit_fe_*."
        )
    if frozen_encoder(model):
        raise UsageError(
            f"drop_tokens {share:g} in stage '{stage}', which freezes the encoder: a frozen encoder sees all patches. "
            "Leave it at 0 there."
        )
    # None in timm's transformers with rotary positions, which have to know what was kept.
    kind = PatchDropoutWithIndices if encoder.patch_drop is None else PatchDropout
    encoder.patch_drop = kind(share, encoder.num_prefix_tokens)
