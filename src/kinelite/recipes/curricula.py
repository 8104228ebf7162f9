"""Curricula over the number of frames: models A to E of *Optimizing ViViT Training* (2306.04822), appendix D.

The paper trains ViViT-L on Kinetics-400, 128 frames, 30 epochs, and counts the epochs of each stage; here they are
shares of ``epochs``, and the frames follow ``frames``: 8, the geometric mean of 8 and N (32 for 128), and N.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from kinelite.config import Stage, TrainConfig
from kinelite.recipes.basic import FROZEN, SHORT_FRAMES, part_of

FRAMES, EPOCHS = 128, 30
"""Of the paper, where nothing else is asked for."""


def middle_frames(frames: int) -> int:
    """Frames of the stage between 8 and ``frames``: their geometric mean, a multiple of 4; 32 for 128, 16 for 32."""
    short = min(SHORT_FRAMES, frames)
    return min(frames, max(short, 4 * round(math.sqrt(short * frames) / 4)))


def curriculum_a(**fields: Any) -> TrainConfig:
    """Model A (appendix D): 8 frames, then SFA at 32, then SFA at 128, a third of the epochs each.

    Example: kinelite train curriculum_a --data folder:clips/ --model vivit_fe_l --pretrained hub --frames 128

    Cost: 0.16; with the features of 4 views stored 0.076.

    Published: in Figure 5 only, which has no table.
    """
    return _curriculum("curriculum_a", fields, ("short", 10), ("middle", 10), ("long", 10))


def curriculum_b(**fields: Any) -> TrainConfig:
    """Model B (appendix D): 8 frames for a third of the epochs, then SFA at 128 for two thirds.

    Example: kinelite train curriculum_b --data folder:clips/ --model vivit_fe_l --pretrained hub --frames 128

    Cost: 0.24; with the features of 4 views stored 0.065.

    Published: a cost of 0.25 "if we sacrifice 2% accuracy" (the text does not say which model that is).
    """
    return _curriculum("curriculum_b", fields, ("short", 10), ("long", 20))


def curriculum_c(**fields: Any) -> TrainConfig:
    """Model C (appendix D): 8 frames for a third of the epochs, then SFA at 128 for all of them.

    Example: kinelite train curriculum_c --data folder:clips/ --model vivit_fe_l --pretrained hub --frames 128

    Cost: 0.35; with the features of 4 views stored 0.065.

    Published: in Figure 5 only, which has no table.
    """
    return _curriculum("curriculum_c", fields, ("short", 10), ("long", 30))


def curriculum_d(**fields: Any) -> TrainConfig:
    """Model D (appendix D): 8 frames for all epochs, then SFA at 128 for all again. It is ``sfa`` at 128 frames.

    Example: kinelite train curriculum_d --data folder:clips/ --model vivit_fe_l --pretrained hub --frames 128

    Cost: 0.40; with the features of 4 views stored 0.11.

    Published: "gave us the best results".
    """
    return _curriculum("curriculum_d", fields, ("short", 30), ("long", 30))


def curriculum_e(**fields: Any) -> TrainConfig:
    """Model E (appendix D): 128 frames end to end for all epochs. It is ``conventional`` at 128 frames.

    Example: kinelite train curriculum_e --data folder:clips/ --model vivit_fe_l --pretrained hub --frames 128

    Cost: 1.

    Published: what A to D are compared with; 82.6 % with ViViT-L (Table 5, which does not give its frames).
    """
    return _curriculum("curriculum_e", fields, ("end-to-end", 30))


def _curriculum(name: str, fields: dict[str, Any], *parts: tuple[str, int]) -> TrainConfig:
    """Stages by (kind, epochs of the paper's 30) with the frames and epochs that ``fields`` ask for."""
    frames, epochs = int(fields.get("frames", FRAMES)), int(fields.get("epochs", EPOCHS))
    own = {"short": min(SHORT_FRAMES, frames), "middle": middle_frames(frames)}
    stages = tuple(
        Stage(
            kind,
            frames=own.get(kind),
            epochs=None if share == EPOCHS else part_of(epochs, share, EPOCHS),
            freeze=FROZEN if kind in ("middle", "long") else (),
            adapter=kind in ("middle", "long"),
        )
        for kind, share in parts
    )
    return replace(TrainConfig(recipe=name, frames=frames, epochs=epochs, stages=stages), **fields)
