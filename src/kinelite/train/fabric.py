"""Lightning Fabric, set up for one device or for those of several processes."""

from __future__ import annotations

import inspect
import logging
import warnings
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch.nn.parallel import DistributedDataParallel

from kinelite.errors import UsageError
from kinelite.train.device import Placement
from kinelite.train.sharded import shard
from kinelite.train.world import ALONE, TIMEOUT, World, environment


def make_fabric(placement: Placement, world: World = ALONE, strategy: str = "auto") -> Fabric:
    """Lightning Fabric on one device, or on that of each process of ``world``; its own start-up messages are left out,
    ours say the same."""
    for name in ("lightning_fabric", "lightning.fabric", "lightning_fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    precision: Any = placement.fabric_precision
    where: dict[str, Any] = {"devices": placement.indices}
    if world.size > 1:
        where = _company(world, strategy, placement)
    with warnings.catch_warnings():
        # Fabric advises tensor-core precision and the like at start-up; none of it concerns the user of a verb.
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator=placement.accelerator,
            precision=precision,
            **where,
        )
        fabric.launch()
    if placement.accelerator == "cuda":
        torch.set_float32_matmul_precision("high")
    return fabric


def _company(world: World, strategy: str, placement: Placement) -> dict[str, Any]:
    """What Fabric is told of the processes beside this one."""
    chosen: Any
    if strategy == "fsdp":
        if placement.precision == "fp16":
            raise UsageError("--strategy fsdp computes in bf16 or fp32: --precision bf16, or --strategy ddp for fp16.")
        chosen = ModelParallelStrategy(shard, world.size, 1, timeout=TIMEOUT)
    else:
        # Buffers are equal without being sent: batch norms take their statistics over all processes.
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        more: dict[str, Any] = {
            "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
        }
        chosen = DDPStrategy(timeout=TIMEOUT, **more)
    nodes, plugins = world.ranks.machines, [environment(world.ranks)]
    return {"devices": world.ranks.local_size, "num_nodes": nodes, "strategy": chosen, "plugins": plugins}
