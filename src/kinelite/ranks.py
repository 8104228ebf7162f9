"""Which process of how many this is, as torchrun or SLURM's srun tells it in the environment. No PyTorch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from kinelite.errors import UsageError
from kinelite.records import cores

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """A process's place among those that do one piece of work together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Place among the processes of this machine."""
    local_size: int = 1
    launcher: Literal["", "torchrun", "srun"] = ""

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    @property
    def machines(self) -> int:
        """Machines, each with as many processes."""
        return self.size // self.local_size


def find_ranks(environ: Mapping[str, str] = os.environ) -> Ranks:
    """What the launcher says: torchrun's RANK and WORLD_SIZE first, since it may run inside a SLURM job.

    A script that sbatch runs without srun is one process, whatever the job was given. Raises UsageError for variables
    that are no numbers, or machines with unequal numbers of processes.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        rank, size = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
        local = _number(environ, "LOCAL_RANK", rank), _number(environ, "LOCAL_WORLD_SIZE", size)
        found = Ranks(rank, size, *local, "torchrun")
    elif "SLURM_PROCID" in environ and "SLURM_STEP_NUM_TASKS" in environ:
        size = _number(environ, "SLURM_STEP_NUM_TASKS")
        machines = max(1, _number(environ, "SLURM_STEP_NUM_NODES", 1))
        found = Ranks(_number(environ, "SLURM_PROCID"), size, _number(environ, "SLURM_LOCALID", 0), 1, "srun")
        if size % machines == 0:
            found = Ranks(found.rank, size, found.local_rank, size // machines, "srun")
    else:
        return Ranks()
    if found.size == 1:
        return Ranks()
    if found.size % found.local_size or found.local_rank >= found.local_size:
        raise UsageError(
            f"{found.size} processes do not spread evenly over the machines (process {found.rank} is number "
            f"{found.local_rank} of {found.local_size} on its own). Start as many on each: --nproc-per-node, or "
            "--ntasks-per-node of SLURM."
        )
    return found


class Alone:
    """A process with nobody to talk to, for what need not load PyTorch: what `kinelite.train.world.World` does then."""

    rank, size, first = 0, 1, True

    def firsts(self, thing: T) -> T:
        """What the first process has."""
        return thing

    def everyones(self, thing: T) -> list[T]:
        """What each process has."""
        return [thing]

    def counts(self, *numbers: int) -> list[tuple[int, ...]]:
        """A few whole numbers of each process."""
        return [numbers]

    def wait(self) -> None:
        """Nobody else is there."""


def cores_here() -> int:
    """Cores for this process: those that it may run on, shared with the others of its machine under torchrun. SLURM
    binds each process to cores of its own."""
    ranks = find_ranks()
    return max(1, cores() // ranks.local_size) if ranks.launcher == "torchrun" else cores()


def _number(environ: Mapping[str, str], name: str, otherwise: int = 0) -> int:
    text = environ.get(name, str(otherwise))
    if not text.isdecimal():
        raise UsageError(f"The variable {name} is '{text}', not a number. It is set by torchrun or srun.")
    return int(text)
