"""How many clips per second an input pipeline gives, and where its time goes, against others in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import torch

from kinelite.bench.peers import PEERS, PeerPipeline, missing, unsuited
from kinelite.data.dataset import ClipDataset, Key, Reading
from kinelite.data.decode import decoding_with
from kinelite.data.loader import ClipLoader, make_loader
from kinelite.data.manifest import Manifest, Row
from kinelite.data.stages import stage, take_seconds
from kinelite.errors import DataError

Say = Callable[[str], None]


@runtime_checkable
class Pipeline(Protocol):
    """What is measured."""

    name: str

    def epoch(self, order: Sequence[int]) -> Iterator[int]:
        """Read the clips of ``order``; yields how many each batch holds."""
        ...

    def stages_s(self, order: Sequence[int]) -> dict[str, float]:
        """Seconds per stage for reading ``order`` in this process, one clip after the other."""
        ...

    def close(self) -> None:
        """End its processes."""
        ...


@dataclass
class OurPipeline:
    """Kinelite's own loader over the rows of a set."""

    name: str
    rows: Sequence[Row]
    reading: Reading
    workers: int
    batch: int

    def __post_init__(self) -> None:
        manifest = Manifest(self.name, {"label": ("-",)}, tuple(replace(row, labels=(0,)) for row in self.rows))
        self.clips = ClipDataset(manifest, self.reading)
        self.loader: ClipLoader = make_loader(self.clips, self.batch, shuffle=False, workers=self.workers)
        self.epochs = 0

    def epoch(self, order: Sequence[int]) -> Iterator[int]:
        """As `Pipeline.epoch`; raises DataError for a clip that cannot be read, since it would count as fast."""
        self.epochs += 1
        self.loader.batches = _Batches([Key(self.epochs, index) for index in order], self.batch)  # type: ignore[assignment]
        for batch in self.loader:
            if batch.skipped:
                raise DataError(f"A clip cannot be read: {batch.skipped[0][1]}. Leave it out: kinelite data check")
            yield len(batch.indices)

    def stages_s(self, order: Sequence[int]) -> dict[str, float]:
        """As `Pipeline.stages_s`."""
        take_seconds()
        with decoding_with(self.reading.decoder):
            samples = [self.clips[Key(0, index)].frames for index in order]
        with stage("collate"):
            torch.stack([torch.from_numpy(frames) for frames in samples])
        return take_seconds()

    def close(self) -> None:
        """End the workers."""
        self.loader.close()


@dataclass
class _Batches:
    """Batches of a given order."""

    keys: list[Key]
    batch: int

    def __len__(self) -> int:
        return -(-len(self.keys) // self.batch)

    def __iter__(self) -> Iterator[list[Key]]:
        for first in range(0, len(self.keys), self.batch):
            yield self.keys[first : first + self.batch]


def pipelines(
    sets: dict[str, Sequence[Row]], reading: Reading, workers: int, batch: int, peers: Sequence[str]
) -> tuple[list[Pipeline], dict[str, str]]:
    """Our pipeline over each set, and the peers over the first; and why peers that were asked for are not there."""
    found: list[Pipeline] = [OurPipeline(name, rows, reading, workers, batch) for name, rows in sets.items()]
    rows = next(iter(sets.values()))
    other_work = unsuited(rows, reading)
    absent = {name: reason for name in peers if (reason := other_work or missing(name)) is not None}
    found += [
        PeerPipeline(name, rows, reading, workers, batch) for name in PEERS if name in peers and name not in absent
    ]
    return found, absent


def measure(found: Sequence[Pipeline], clips: int, rounds: int, each: int, say: Say) -> list[dict[str, Any]]:
    """Clips/s of each in rounds, all pipelines in turn, so that whatever else the machine does falls on all.

    ``clips`` are in the set, of which ``each`` are read per round and pipeline, in the same order by all of them.
    """
    speeds: dict[str, list[float]] = {pipeline.name: [] for pipeline in found}
    for number in range(-1, rounds):
        order = _order(clips, each, number)
        for pipeline in found:
            began = time.perf_counter()
            read = sum(pipeline.epoch(order[: max(1, each // 4)] if number < 0 else order))
            speed = read / (time.perf_counter() - began)
            if number >= 0:  # the round before the first starts workers and fills the file cache
                speeds[pipeline.name].append(speed)
                say(f"round {number + 1} of {rounds}: {pipeline.name} {speed:.1f} clips/s")
    return [{"pipeline": name, "rounds": values, **_spread("clips_per_s", values)} for name, values in speeds.items()]


def _order(clips: int, each: int, number: int) -> list[int]:
    rng = np.random.default_rng(number + 1)
    passes = -(-each // clips)
    return np.concatenate([rng.permutation(clips) for _ in range(passes)])[:each].tolist()


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: statistics.median(values), f"{name}_min": min(values), f"{name}_max": max(values)}


def ratios(rows: Sequence[dict[str, Any]], base: str) -> None:
    """Add to each row its ratio to the pipeline ``base``, from the rounds that they ran side by side."""
    below = next(row["rounds"] for row in rows if row["pipeline"] == base)
    for row in rows:
        row.update(_spread("ratio", [a / b for a, b in zip(row["rounds"], below, strict=True)]))
        row["against"] = base


def stage_table(found: Sequence[Pipeline], clips: int, each: int) -> dict[str, dict[str, float]]:
    """Milliseconds per clip of each stage, in one process on one thread: pipeline -> stage -> ms."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    order = _order(clips, each, 0)
    table = {}
    try:
        for pipeline in found:
            pipeline.stages_s(order[:2])
            stages = pipeline.stages_s(order)
            table[pipeline.name] = {name: 1000 * seconds / len(order) for name, seconds in stages.items()}
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    return table
