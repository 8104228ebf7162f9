"""What a recipe costs relative to conventional training, counted in frames through the spatial encoder.

A clip of N frames costs N forward passes of the encoder, and 3N where the encoder trains: the gradients by inputs and
by weights take as long as the forward pass each. Conventional training over E epochs is then 3NE, SFA 24E + NE (8
frames, then N frozen), and with V stored views 24E1 + NV, E1 being the epochs of stage 1. Left out is what comes after
the encoder, the reading of clips and the evaluations.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from kinelite.config import Stage, TrainConfig

TRAINED, FROZEN = 3, 1
"""Forward passes that a frame is worth where the encoder trains, and where it is frozen."""


def encoder_passes(config: TrainConfig, views: int = 0) -> float:
    """Forward passes of one frame that a training clip costs over a whole run.

    ``views``: how many views are stored once in stages with a frozen encoder, instead of encoding in each epoch (0:
    none are). A stage with a smaller picture or with dropped patches counts by its share of the patches.
    """
    stages = config.resolved().stages
    return sum(_passes(stage, views) * _patches(stage, config.size) for stage in stages)


def relative_cost(config: TrainConfig, views: int = 0) -> float:
    """`encoder_passes` divided by those of conventional training with the run's frames and epochs: 3NE."""
    return encoder_passes(config, views) / (TRAINED * config.frames * config.epochs)


def _passes(stage: Stage, views: int) -> int:
    frames, epochs = stage.frames or 0, stage.epochs or 0
    if not any(fnmatchcase("encoder.blocks", pattern) for pattern in stage.freeze):
        return TRAINED * frames * epochs
    return FROZEN * frames * (views or epochs)


def _patches(stage: Stage, size: int | None) -> float:
    seen = (stage.size / size) ** 2 if stage.size and size else 1.0
    return seen * (1.0 - stage.drop_tokens)
