"""Which numbers of a training config make sense. What names mean is checked where they are looked up."""

from __future__ import annotations

import math

from kinelite.config import TrainConfig, flatten, to_json
from kinelite.errors import UsageError

# Field names -> smallest value, and the value that everything must stay below (None: no such limit).
_LIMITS: dict[str, tuple[float, float | None]] = {
    "clips.limit_s": (0.1, 1e6),
    "clips.max_skipped": (0, None),
    "clips.stride": (1, None),
    "features.max_disk_gib": (0, None),
    "features.phases": (1, None),
    "features.views": (1, None),
    "keep.early_stop": (0, None),
    "keep.eval_epochs": (0, None),
    "keep.every_s": (0, None),
    "keep.every_steps": (0, None),
    "keep.last": (1, None),
    "keep.strips": (0, None),
    "max_hours": (0, None),
    "memory.chunk_frames": (0, None),
    "optim.clip_norm": (0, None),
    "optim.cutmix": (0, None),
    "optim.ema": (0, 1),
    "optim.label_smoothing": (0, 1),
    "optim.layer_decay": (0, None),
    "optim.lr": (0, None),
    "optim.mixup": (0, None),
    "optim.momentum": (0, 1),
    "optim.plateau_factor": (0, None),
    "optim.plateau_patience": (0, None),
    "optim.warmup_epochs": (0, None),
    "optim.weight_decay": (0, None),
    "seed": (0, None),
    "size": (1, None),
    "workers": (-1, None),
}
# What may be left open: the model decides.
_OPTIONAL = ("clips.stride", "size")
_STAGE_LIMITS = {"batch": (1, None), "drop_tokens": (0, 1), "epochs": (0, None), "frames": (1, None), "lr": (0, None)}
_STAGE_LIMITS |= {"micro_batch": (1, None), "size": (1, None)}


def check_config(config: TrainConfig) -> None:
    """Raise UsageError for a number that cannot be meant, such as no clips per step. Takes a resolved config."""
    flat = flatten(to_json(config))
    stages = {f"stages.{i}.{n}": limit for i in range(len(config.stages)) for n, limit in _STAGE_LIMITS.items()}
    for name, (low, high) in (_LIMITS | stages).items():
        value = flat[name]
        # NaN is null in JSON and refused with it.
        if name.endswith("micro_batch") and value == "auto":
            continue
        fits = name.endswith(_OPTIONAL) if value is None else low <= value < (high or math.inf)
        if not fits:
            below = f" and below {high:g}" if high else ""
            raise UsageError(f"--{name.replace('_', '-')} {value}: at least {low:g}{below} is possible.")
    for name in ("pretrained", "init", "temporal_init"):
        if getattr(config, name) == "":
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is empty. Name weights, or leave the flag out to start from random ones.")
    if config.recipe == "sfa_long" and not config.init:
        raise UsageError(
            "Recipe 'sfa_long' goes on from a run: --init RUN. Without one it is another experiment, ablation III "
            "of the paper: kinelite train frozen"
        )
    if not config.stages:
        raise UsageError("A training run needs at least one stage.")
    looks = config.keep.select == "best" or config.keep.early_stop or config.optim.schedule == "plateau"
    if looks and not config.keep.eval_epochs:
        raise UsageError(
            "--keep.select best, --keep.early-stop and --optim.schedule plateau need evaluations: "
            "--keep.eval-epochs 1 or more."
        )
