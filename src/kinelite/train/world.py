"""The processes that train or evaluate together: who they are, and the few things that they tell each other.

Alone, every method is free and gives back what it was given. In company, gradients travel by Fabric's strategy (DDP or
FSDP); all else, counts, decisions and scores, goes over a gloo group of its own, so that no GPU has to wait for it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Int64
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from kinelite.errors import RunError, UsageError
from kinelite.ranks import Ranks, find_ranks

TIMEOUT = timedelta(minutes=30)
"""A process that is not heard of for so long is taken to hang, and the others end."""
PARTING_S = 5.0
"""How long a process that ends waits for the first one to write what came of the run."""
LOST = (
    "Another process of this run ended or no longer answers, so this one ends too ({error}). Its own message says why. "
    "The same command continues from the last checkpoint; torchrun --max-restarts does so by itself."
)
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of one run, seen from one of them. Raises RunError where another one is gone."""

    ranks: Ranks = field(default_factory=Ranks)
    group: Any = None
    """For what the processes tell each other on the CPU."""

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.ranks.rank

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.ranks.size

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.ranks.first

    def everyones(self, thing: T) -> list[T]:
        """The ``thing`` of each process, in their order."""
        if self.size == 1:
            return [thing]
        found: list[Any] = [None] * self.size
        with told():
            dist.all_gather_object(found, thing, group=self.group)
        return found

    def firsts(self, thing: T) -> T:
        """The ``thing`` of the first process."""
        if self.size == 1:
            return thing
        found: list[Any] = [thing]
        with told():
            dist.broadcast_object_list(found, src=0, group=self.group)
        return found[0]

    def counts(self, *numbers: int) -> list[tuple[int, ...]]:
        """A few whole numbers of each process."""
        if self.size == 1:
            return [numbers]
        found = torch.empty(self.size, len(numbers), dtype=torch.int64)
        with told():
            dist.all_gather_into_tensor(found, torch.tensor([numbers], dtype=torch.int64), group=self.group)
        return [tuple(row) for row in found.tolist()]

    def sums(self, *values: float) -> list[float]:
        """The sum over all processes of each value, the same number in each of them."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        with told():
            dist.all_reduce(total, group=self.group)
        return total.tolist()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            with told():
                dist.barrier(group=self.group)

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first process goes through what is inside alone; the others find what it left on the disk."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def fetch(self, rows: Tensor, wanted: Int64[Tensor, " all"], counts: Sequence[int]) -> Tensor:
        """Rows of other processes: of all rows one behind the other (``counts`` of each process), this process gets
        number ``wanted[i]`` for each number i of its own. Only what is wanted travels, and no row twice to one process.
        """
        ends = torch.tensor(counts).cumsum(0)
        begins = ends - torch.tensor(counts)
        mine = wanted[begins[self.rank] : ends[self.rank]]
        if self.size == 1:
            return rows[mine]
        sent = [wanted[begins[to] : ends[to]] for to in range(self.size)]
        here = [part[(part >= begins[self.rank]) & (part < ends[self.rank])] - begins[self.rank] for part in sent]
        got = [mine[(mine >= begins[source]) & (mine < ends[source])] for source in range(self.size)]
        # As bytes: a group need not know every type of number.
        own = rows[torch.cat(here)].contiguous().view(torch.uint8).flatten(1)
        out = own.new_empty(len(mine), own.shape[1])
        with told():
            dist.all_to_all_single(out, own, [len(g) for g in got], [len(h) for h in here], group=self.group)
        # They come sorted by sender; within one sender in the order in which they are wanted.
        owner = torch.bucketize(mine, ends, right=True)
        order = owner.argsort(stable=True)
        return out[order.argsort()].view(rows.dtype).reshape(len(mine), *rows.shape[1:])

    def part(self) -> None:
        """Before a process ends with an error that all share: let the first one write its record."""
        if self.size > 1:
            with contextlib.suppress(RuntimeError, ValueError):
                dist.monitored_barrier(self.group, timeout=timedelta(seconds=PARTING_S))


ALONE = World()


def join() -> World:
    """The world of this process: alone, or with those that torchrun or srun started beside it, once they are here.

    A process group that exists is used.
    """
    ranks = find_ranks()
    if ranks.size == 1:
        return ALONE
    if not dist.is_initialized():
        environment(ranks)
        with told():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            store, _, size = next(rendezvous("env://", ranks.rank, ranks.size, timeout=TIMEOUT))
            store = PrefixStore(_meeting(store, ranks), store)
            dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=size, timeout=TIMEOUT)
    return World(ranks, _control_group())


def _meeting(store: Store, ranks: Ranks) -> str:
    """A name for this start of these processes, the same in all of them and never used before.

    torchrun's store may outlive a restart and then still holds the addresses of processes that are gone, where new ones
    would wait in vain. So each asks with a word of its own, which only a living first process can answer.
    """
    if not ranks.first:
        word = secrets.token_hex(8)
        store.set(f"kinelite/asks/{ranks.rank}", word)
        name = store.get(f"kinelite/answer/{word}").decode()
        store.set(f"kinelite/heard/{name}/{ranks.rank}", "")
        return name
    name, ends = secrets.token_hex(8), time.monotonic() + TIMEOUT.total_seconds()
    silent = set(range(1, ranks.size))
    while silent:
        for rank in silent:
            if store.check([f"kinelite/asks/{rank}"]):
                store.set(f"kinelite/answer/{store.get(f'kinelite/asks/{rank}').decode()}", name)
        silent = {rank for rank in silent if not store.check([f"kinelite/heard/{name}/{rank}"])}
        if time.monotonic() > ends:
            raise RuntimeError(f"processes {sorted(silent)} did not come within {TIMEOUT}")
        time.sleep(0.01)
    return name


_groups: list[Any] = []


def _control_group() -> Any:
    if not _groups:
        _groups.append(dist.new_group(backend="gloo", timeout=TIMEOUT))
        atexit.register(leave)
    return _groups[0]


def leave() -> None:
    """Give the connections up, at the end of the process."""
    with contextlib.suppress(Exception):  # a process that was lost is no news here
        dist.destroy_process_group()


def environment(ranks: Ranks) -> Any:
    """Fabric's plugin for the launcher; sets the address that PyTorch meets at where SLURM leaves that to us."""
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if ranks.launcher == "torchrun":
        return TorchElasticEnvironment()
    try:
        slurm = SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:  # it insists on --ntasks-per-node
        raise UsageError(f"SLURM: {error} See: docs/distributed.md") from error
    os.environ.setdefault("MASTER_ADDR", slurm.main_address)
    os.environ.setdefault("MASTER_PORT", str(slurm.main_port))
    return slurm


@contextlib.contextmanager
def told() -> Iterator[None]:
    """A connection that broke as the sentence that it means."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(lost(error)) from error


def lost(error: Exception) -> str:
    """The sentence for a process that is gone."""
    return LOST.format(error=(str(error).splitlines() or [""])[0][:200])


def is_lost(error: Exception) -> bool:
    """Whether an error of PyTorch means that another process is gone or silent."""
    words = ("gloo", "NCCL", "Connection closed", "Connection reset", "Timed out", "recvValue", "Broken pipe")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)
