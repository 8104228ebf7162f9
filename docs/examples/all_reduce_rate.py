"""How fast the processes of a run can add up their gradients: torchrun --nproc-per-node 2 all_reduce_rate.py [MB ...]

Prints for each size the seconds of one all-reduce (median of ten) and the rate that the formula of docs/distributed.md
takes: bytes that each process sends, 2 (N - 1) / N times the size, per second.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
import torch.distributed as dist

from kinelite.train.device import place
from kinelite.train.world import join


def seconds(values: torch.Tensor) -> float:
    """Of one all-reduce; the slowest process counts, as it does in training."""
    found = []
    for _ in range(13):
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(values)
        if values.is_cuda:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return statistics.median(found[3:])  # the first ones set up connections


def main(sizes_mb: list[float]) -> None:
    world, placement = join(), place()
    if world.size == 1:
        print("One process has nobody to add up with. Start: torchrun --nproc-per-node 2 all_reduce_rate.py")
        return
    for size_mb in sizes_mb:
        values = torch.zeros(int(size_mb * 1e6 / 4), device=placement.device)
        taken_s = max(world.everyones(seconds(values)))
        sent = 2 * (world.size - 1) / world.size * size_mb * 1e6
        if world.first:
            print(
                f"{size_mb:g} MB over {world.size} processes: {taken_s * 1e3:.2f} ms, {sent / taken_s / 1e9:.2f} GB/s"
            )


if __name__ == "__main__":
    main([float(text) for text in sys.argv[1:]] or [0.004, 1, 10, 100])
