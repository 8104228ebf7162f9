"""What makes the first stage of SFA cheaper, and what it costs in accuracy: one short run per way.

Example: python docs/examples/stage1_savings.py motion runs/savings --model vivit_fe_nano --size 64 --epochs 12

Each way trains stage 1 and stage 2, so that the accuracy is that of the whole. Prints seconds of stage 1, accuracy
after both stages and peak memory; the records are in the run folders.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

import kinelite as kl
from kinelite.config import MemoryConfig, Stage, TrainConfig


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
    ways: tuple[str, ...] = ("full", "drop 0.3", "drop 0.5", "small first", "third", "recompute", "compile"),
) -> None:
    fields: dict[str, Any] = {"data": data, "model": model, "pretrained": pretrained, "frames": frames, "size": size}
    fields |= {"epochs": epochs, "batch": batch, "seed": seed, "device": device}
    print(f"{'way':12} {'stage 1, s':>10} {'stage 1':>8} {'both':>6} {'GiB':>6}")
    for way in ways:
        config = replace(varied(kl.recipes.sfa(**fields), way), out=out / way.replace(" ", "-"))
        record = kl.train(config).record
        first = [stage for stage in record.stages if stage["name"].startswith("short")]
        seconds, peak = sum(s["seconds"] for s in first), max(s["peak_memory_gib"] for s in first)
        top1 = first[-1]["top1"]
        print(f"{way:12} {seconds:10.1f} {100 * top1:6.1f} % {100 * record.top1:4.1f} {peak:6.2f}", flush=True)


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
