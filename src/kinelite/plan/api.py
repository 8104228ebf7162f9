"""Planning from Python."""

from __future__ import annotations

from typing import Any

from kinelite.config import SplitConfig
from kinelite.plan.clips import count_clips
from kinelite.plan.make import Plan, make_plan
from kinelite.plan.target import choose_target
from kinelite.recipes import recipe as find_recipe


def plan(
    model: str,
    recipe: str = "sfa",
    memory_gib: int | float | None = None,
    *,
    gpu: str | None = None,
    cpu_memory_gib: int | float | None = None,
    clips: int | None = None,
    classes: int | None = None,
    table: bool = False,
    calibrate: bool = False,
    **fields: Any,
) -> Plan:
    """Peak memory by part, the most clips and frames that fit, hours and disk for every stage of a recipe.

    ``memory_gib`` is that of a GPU, ``gpu`` names a card with published figures, ``cpu_memory_gib`` plans for a CPU;
    without one of them it is the device of this machine. ``fields`` are those of `TrainConfig` (``frames=64``).

    Raises UsageError for unknown names and for what the model cannot be.
    """
    config = find_recipe(recipe)(model=model, **fields)
    target = choose_target(
        None if memory_gib is None else f"{memory_gib}GiB",
        None if cpu_memory_gib is None else f"{cpu_memory_gib}GiB",
        gpu,
        config.device,
    )
    data = config.data if "data" in fields else None
    counted = count_clips(data, config.split if data else SplitConfig(), clips, classes)
    return make_plan(config, target, counted, table=table, calibrate=calibrate)
