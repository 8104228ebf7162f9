"""What makes the first stage of SFA cheaper, and what it costs in accuracy: one run per way.

Example: python docs/examples/stage1_savings.py motion:1200 runs/savings --model vivit_fe_nano --size 64 --epochs 18

Prints seconds of stage 1, seconds of this process's own computing (which other work on the machine does not stretch as
it does wall time), accuracy after stage 1 and at the end, peak memory. The records are in the run folders.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

import kinelite as kl
from kinelite.config import ClipConfig, KeepConfig, MemoryConfig, OptimConfig, Stage, TrainConfig

WAYS = ("full", "drop 0.3", "drop 0.5", "small first", "third", "recompute", "compile")


def main(
    data: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    model: str = "vivit_fe_ti",
    pretrained: str | None = None,
    frames: int = 32,
    size: int = 224,
    epochs: int = 30,
    batch: int = 16,
    seed: int = 0,
    device: str = "auto",
    workers: int = -1,
    ways: tuple[str, ...] = WAYS,
    stage1_only: bool = False,
) -> None:
    """``ways``: full, drop SHARE, small first, small PIXELS, third, recompute, compile."""
    fields: dict[str, Any] = {"data": data, "model": model, "pretrained": pretrained, "frames": frames, "size": size}
    fields |= {"epochs": epochs, "batch": batch, "seed": seed, "device": device, "workers": workers}
    if data.startswith("motion"):  # as in the demo
        fields["clips"] = ClipConfig(sampling="dense", stride=1, policy="none")
        fields["optim"] = OptimConfig(lr=5e-4, weight_decay=0.05)
    print(f"{'way':12} {'stage 1, s':>10} {'own, s':>8} {'stage 1':>8} {'end':>8} {'GiB':>6}")
    for way in ways:
        config = varied(kl.recipes.sfa(**fields, keep=KeepConfig(eval_epochs=max(1, epochs))), way)
        stages = config.stages[:-1] if stage1_only else config.stages
        began = time.process_time()
        record = kl.train(replace(config, stages=stages, out=out / way.replace(" ", "-"))).record
        own = time.process_time() - began
        first = [stage for stage in record.stages if stage["name"].startswith("short")]
        seconds, peak = sum(s["seconds"] for s in first), max(s["peak_memory_gib"] for s in first)
        scores = f"{100 * first[-1]['top1']:6.1f} % {100 * record.top1:6.1f} %"
        print(f"{way:12} {seconds:10.1f} {own:8.1f} {scores} {peak:6.2f}", flush=True)


def varied(config: TrainConfig, way: str) -> TrainConfig:
    """The recipe with one thing changed."""
    short, long = config.stages
    if way.startswith("drop "):
        return replace(config, stages=(replace(short, drop_tokens=float(way.split()[1])), long))
    if way == "small first":
        # Half of the side for the first two thirds: a quarter of the pixels.
        early = Stage(
            "short, small", frames=short.frames, size=(config.size or 224) // 2, epochs=config.epochs * 2 // 3
        )
        return replace(config, stages=(early, replace(short, epochs=config.epochs - config.epochs * 2 // 3), long))
    if way == "third":
        return replace(config, stages=(replace(short, epochs=max(1, config.epochs // 3)), long))
    memory = {"recompute": MemoryConfig(recompute=True), "compile": MemoryConfig(compile=True)}
    return replace(config, memory=memory.get(way, config.memory))


if __name__ == "__main__":
    tyro.cli(main)
