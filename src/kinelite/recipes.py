"""Recipes: functions that return one complete, frozen config.

Any field of `TrainConfig` can be given: ``recipes.sfa(data="folder:clips/", epochs=10)``. On the command line a recipe
is the word after ``kinelite train``, and every field is a flag.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kinelite.config import OptimConfig, Stage, TrainConfig
from kinelite.errors import unknown

FROZEN = ("encoder.*",)
"""The whole spatial transformer, tubelet embedding included."""


def conventional(**fields: Any) -> TrainConfig:
    """One stage: the whole model, end to end, on all frames. What SFA is compared with.

    Example: kinelite train conventional --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Cost: 1 (the unit of *Optimizing ViViT Training*, Figure 1).
    """
    return replace(TrainConfig(recipe="conventional", stages=(Stage("end-to-end"),)), **fields)


def sfa(**fields: Any) -> TrainConfig:
    """Two stages (*Optimizing ViViT Training*, 3.2): 8 frames end to end; then all frames with the spatial transformer
    frozen, a two-layer adapter, and the temporal transformer continued from the first stage.

    Example: kinelite train sfa --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Cost: 0.56 of conventional training published for ViViT-L at 128 frames; ours is in README.
    """
    stages = (Stage("short", frames=8), Stage("long", freeze=FROZEN, adapter=True))
    return replace(TrainConfig(recipe="sfa", stages=stages), **fields)


def frozen(**fields: Any) -> TrainConfig:
    """Ablation III of *Optimizing ViViT Training* (Table 1): spatial transformer frozen from the start, adapter,
    temporal transformer from scratch.

    Example: kinelite train frozen --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Published on Something-Something V2: 38.8 % top-1 where conventional training has 64.5 % and SFA 63.9 %.
    """
    stages = (Stage("frozen", freeze=FROZEN, adapter=True),)
    return replace(TrainConfig(recipe="frozen", stages=stages), **fields)


def frozen_plain(**fields: Any) -> TrainConfig:
    """Ablation I of *Optimizing ViViT Training* (Table 1): as ``frozen``, without the adapter.

    Example: kinelite train frozen_plain --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors

    Published on Something-Something V2: 27.8 % top-1.
    """
    return replace(TrainConfig(recipe="frozen_plain", stages=(Stage("frozen", freeze=FROZEN),)), **fields)


TABLE_6 = {
    "timesformer": (1e-4, False),
    "nl_r50": (1e-4, True),
    "tea_r50": (1e-4, False),
    "swin3d_t": (1e-4, True),
    "vivit_fe_s": (1e-4, True),
    "i3d_bert": (2e-4, True),
    "vtn_r50": (2e-4, True),
    "vtn_eff": (2e-4, True),
    "tsm_r50": (1e-4, True),
    "movinet_a2": (2e-4, True),
    "x3d_xs": (2e-4, True),
    "movinet_a0": (2e-4, True),
}
"""Starting learning rate and whether the pretrained backbone is frozen for the first epoch: *Evaluating Transformers
for Lightweight Action Recognition*, Table 6. A variant that is not in it (x3d_m, movinet_a0_stream) is trained as the
models of its family, a model of another family (MViT-S among them) with 1e-4 and the freeze."""


def table_6(model: str) -> tuple[float, bool]:
    """Learning rate and freeze of a model, by its name or the first word of it: all rows of a family are equal."""
    families = {row.partition("_")[0]: values for row, values in TABLE_6.items()}
    return TABLE_6.get(model) or families.get(model.partition("_")[0], (1e-4, True))


def lightweight(**fields: Any) -> TrainConfig:
    """The one recipe of *Evaluating Transformers for Lightweight Action Recognition* (section 4, Table 6): 16 sparse
    frames, batch 32, AdamW, weight decay 1e-5, learning rate of the model, times 0.1 after 2 epochs without progress;
    one epoch with the pretrained backbone frozen where the paper has a tick, then up to 34 (35) of everything.

    Example: kinelite train lightweight --data ssv2:/data/ssv2 --model x3d_xs --pretrained hub

    The paper does not name its optimiser; published top-1 of all models is in its Table 2.
    """
    model = fields.get("model", TrainConfig.model)
    lr, frozen_first = table_6(model)
    stages = (Stage("frozen backbone", epochs=1, freeze=("@backbone",)), Stage("end-to-end"))
    optim = OptimConfig(lr=lr, weight_decay=1e-5, schedule="plateau", warmup_epochs=0.0)
    config = TrainConfig(
        recipe="lightweight",
        frames=16,
        batch=32,
        epochs=34 if frozen_first else 35,
        optim=optim,
        stages=stages if frozen_first else stages[1:],
    )
    return replace(config, **fields)


RECIPES: dict[str, Callable[..., TrainConfig]] = {
    recipe.__name__: recipe for recipe in (conventional, sfa, frozen, frozen_plain, lightweight)
}


def recipe(name: str) -> Callable[..., TrainConfig]:
    """The recipe function of that name. Raises UsageError with the nearest names."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES, "kinelite list recipes")
    return RECIPES[name]


__all__ = ["OptimConfig", "RECIPES", "conventional", "frozen", "frozen_plain", "lightweight", "recipe", "sfa"]
