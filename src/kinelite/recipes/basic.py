"""Conventional training, SFA, what lies between them, and the ablations of *Optimizing ViViT Training* (2306.04822)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kinelite.config import Stage, TrainConfig

FROZEN = ("encoder.*",)
"""The whole spatial transformer, tubelet embedding included."""
SHORT_FRAMES = 8
"""Frames of stage 1: with fewer it is worse, with more no better (section 4.4)."""


def conventional(**fields: Any) -> TrainConfig:
    """One stage: the whole model, end to end, on all frames. What SFA is compared with.

    Example: kinelite train conventional --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Cost: 1 (the unit of *Optimizing ViViT Training*, Figure 1).

    Published: 64.5 % on Something-Something V2 (Table 1), 82.6 % on Kinetics-400 (ViViT-L, Table 5).
    """
    return replace(TrainConfig(recipe="conventional", stages=(Stage("end-to-end"),)), **fields)


def sfa(**fields: Any) -> TrainConfig:
    """Two stages (*Optimizing ViViT Training*, 3.2): 8 frames end to end; then all frames with the spatial transformer
    frozen, a two-layer adapter, and the temporal transformer continued from the first stage.

    Example: kinelite train sfa --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Cost: 0.58 at 32 frames, 0.40 at 128; with the features of 4 views stored 0.29 and 0.11. Counted in frames through
    the encoder (`kinelite.recipes.cost`); published is 0.56 of the time (Figure 1, Table 5); ours is in README.

    Published: 63.9 % on Something-Something V2 (Table 1), 82.8 % on Kinetics-400 (ViViT-L, Table 5).
    """
    stages = (Stage("short", frames=SHORT_FRAMES), Stage("long", freeze=FROZEN, adapter=True))
    return replace(TrainConfig(recipe="sfa", stages=stages), **fields)


def sfa_short(**fields: Any) -> TrainConfig:
    """As ``sfa`` with a third of the epochs in the stage of 8 frames, which is where the time goes once features are
    stored (appendix D trains 8 frames for 10 epochs instead of 30, and SFA for 20 or 30 after it).

    Example: kinelite train sfa_short --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Cost: 0.42 at 32 frames, 0.35 at 128; with the features of 4 views stored 0.13 and 0.065.

    Published: no number; appendix D says that the 30 epochs of ``sfa`` gave the best result.
    """
    epochs = int(fields.get("epochs", TrainConfig.epochs))
    first = Stage("short", frames=SHORT_FRAMES, epochs=part_of(epochs, 1, 3))
    stages = (first, Stage("long", freeze=FROZEN, adapter=True))
    return replace(TrainConfig(recipe="sfa_short", stages=stages), **fields)


def sfa_long(**fields: Any) -> TrainConfig:
    """The second stage of ``sfa`` alone, from a finished run of any number of frames, on the same or another set
    (*Optimizing ViViT Training*, 4.6): spatial transformer frozen, adapter, temporal positions interpolated.

    Example: kinelite train sfa_long --init runs/eight_frames --data folder:clips/ --model vivit_fe_ti --frames 32

    The classifier is new where the classes differ; an adapter that the run has is taken over.

    Cost: 0.33 (and nothing for the run that was there already); with the features of 4 views stored 0.044.

    Published: SSv2 to Kinetics-400 76.8 %, Kinetics-400 to SSv2 44.7 %; from the set itself 82.8 and 63.9 % (Table 2).
    """
    stages = (Stage("long", freeze=FROZEN, adapter=True),)
    return replace(TrainConfig(recipe="sfa_long", stages=stages), **fields)


def sfa_unfrozen(**fields: Any) -> TrainConfig:
    """8 frames, then all frames with everything training: what the start alone gives (*Optimizing ViViT Training*,
    appendix F, Table 10).

    Example: kinelite train sfa_unfrozen --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Cost: 1.25 at 32 frames, 1.06 at 128; fewer epochs are enough.

    Published: within 1 % of its best after 4 epochs instead of 20 (ViViT-L), 5 instead of 22 (ViViT-H), Kinetics-400.
    """
    stages = (Stage("short", frames=SHORT_FRAMES), Stage("long"))
    return replace(TrainConfig(recipe="sfa_unfrozen", stages=stages), **fields)


def frozen(**fields: Any) -> TrainConfig:
    """Ablation III of *Optimizing ViViT Training* (Table 1): spatial transformer frozen from the start, adapter,
    temporal transformer from scratch. With ``--temporal-init`` of a VideoMAE checkpoint it is ablation IV.

    Example: kinelite train frozen --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Cost: 0.33; with the features of 4 views stored 0.044. Published are 0.53 of the time.

    Published: 38.8 % on Something-Something V2 (``sfa``: 63.9 %); from VideoMAE 58.5 %.
    """
    stages = (Stage("frozen", freeze=FROZEN, adapter=True),)
    return replace(TrainConfig(recipe="frozen", stages=stages), **fields)


def frozen_plain(**fields: Any) -> TrainConfig:
    """Ablation I of *Optimizing ViViT Training* (Table 1): as ``frozen``, without the adapter.

    Example: kinelite train frozen_plain --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Cost: 0.33; with the features of 4 views stored 0.044. Published are 0.5 of the time.

    Published: 27.8 % on Something-Something V2.
    """
    return replace(TrainConfig(recipe="frozen_plain", stages=(Stage("frozen", freeze=FROZEN),)), **fields)


def frozen_temporal(**fields: Any) -> TrainConfig:
    """Ablation II of *Optimizing ViViT Training* (Table 1): the temporal transformer frozen as it was drawn, the
    spatial one training.

    Example: kinelite train frozen_temporal --data folder:clips/ --model vivit_fe_ti --pretrained hub

    Cost: 1, for the gradient runs through both parts. Published are 0.5 of the time.

    Published: 25.8 % on Something-Something V2.
    """
    stages = (Stage("frozen temporal part", freeze=("temporal.*",)),)
    return replace(TrainConfig(recipe="frozen_temporal", stages=stages), **fields)


def part_of(epochs: int, share: int, of: int) -> int:
    """``share / of`` of a number of epochs: whole, and at least one unless there are none at all."""
    return min(epochs, max(1, round(epochs * share / of)))
