"""Models and their checks from a configuration: what training builds and what a plan traces.

Nothing here needs Fabric, whose import takes seconds that `kinelite plan` has no use for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from kinelite.config import Stage, TrainConfig
from kinelite.data.augment import policy
from kinelite.data.manifest import Manifest
from kinelite.errors import UsageError
from kinelite.models import Factorised, create_model
from kinelite.models.temporal.start import load_temporal
from kinelite.models.weights import load_weights
from kinelite.train.chunks import choose_chunk
from kinelite.train.drop import drop_tokens
from kinelite.train.features.choice import can_be_stored, check_choice
from kinelite.train.recompute import recompute
from kinelite.train.stage import freeze
from kinelite.train.trained import init_weights
from kinelite.types import InputSpec


def build_model(config: TrainConfig, stage: Stage, tasks: dict[str, int]) -> tuple[Any, str]:
    """A model for a stage from --pretrained, --init and --temporal-init, and a sentence on what was loaded."""
    torch.manual_seed(config.seed)
    model: Any = create_model(config.model, heads=tasks, frames=stage.frames, size=_size(config, stage), net=config.net)
    notes = []
    if config.pretrained:
        notes.append(str(load_weights(model, config.pretrained)))
    if config.init:
        notes.append(str(load_weights(model, init_weights(config.init), allow_new_head=True)))
    if config.temporal_init:
        notes.append(load_temporal(model, config.temporal_init))
    # After the weights: those of another project bring their own mean and standard deviation.
    model.spec = stage_spec(config, model.spec)
    return model, "; ".join(notes) or "random weights"


def check_stages(config: TrainConfig, manifest: Manifest) -> None:
    """Raise UsageError for what any stage cannot build, before hours go into the ones ahead of it."""
    augmentation(config.clips.policy, manifest)
    if config.init:
        init_weights(config.init)
    tasks = {name: len(classes) for name, classes in manifest.tasks.items()}
    storable: list[bool] = []
    for stage in config.stages:
        with torch.device("meta"):
            model: Any = create_model(
                config.model, heads=tasks, frames=stage.frames, size=_size(config, stage), net=config.net
            )
            if stage.adapter:
                check_factorised(config, model)
                model.add_adapter()
            if isinstance(model, Factorised):
                choose_chunk(config.memory.chunk_frames, torch.device("cpu"), model.tubelet)
        freeze(model, stage.freeze)
        spare(model, config, stage)
        storable.append(can_be_stored(model))
    check_choice(config, storable)


def _size(config: TrainConfig, stage: Stage) -> int | None:
    return config.size if stage.size is None else stage.size


def spare(model: nn.Module, config: TrainConfig, stage: Stage) -> None:
    """What saves memory and time inside the model, once it is known what trains."""
    drop_tokens(model, stage.drop_tokens, config.model, stage.name)
    if config.memory.recompute:
        recompute(model, config.model)


def check_factorised(config: TrainConfig, model: object) -> None:
    """Raise UsageError when a recipe with an adapter meets a model that has no place for one."""
    if not isinstance(model, Factorised):
        raise UsageError(
            f"Recipe '{config.recipe}' puts an adapter between a frozen encoder and a temporal part, and "
            f"'{config.model}' has no such parts. It trains with: kinelite train lightweight, or conventional. "
            "Models for this recipe: vivit_fe_*, vtn_*."
        )


def augmentation(asked: str, manifest: Manifest) -> str:
    """Name of the augmentation policy: the set's own for 'auto'. Raises UsageError for an unknown one."""
    name = manifest.policy if asked == "auto" else asked
    policy(name)
    return name


def stage_spec(config: TrainConfig, spec: InputSpec) -> InputSpec:
    """The model's input, with what the run chooses differently; it travels with the weights."""
    asked = {"sampling": config.clips.sampling, "stride": config.clips.stride, "fit": config.clips.fit}
    return replace(spec, **{name: value for name, value in asked.items() if value is not None})
