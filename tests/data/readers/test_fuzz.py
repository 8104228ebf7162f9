"""Files that are cut off or damaged in seeded ways: frames or a ClipError, in time, and nothing else."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kinelite.data.decode import ClipError, ClipWarning, probe, read_clip

LIMIT_S = 10.0
FILES = 1000
WORKERS = 2

Mutation = Callable[[bytearray, np.random.Generator], bytearray]


def cut_off(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: int(rng.integers(0, len(content)))]


def beheaded(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[int(rng.integers(1, len(content))) :]


def flipped_bits(content: bytearray, rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, len(content), int(rng.integers(1, 200))):
        content[at] ^= 1 << int(rng.integers(8))
    return content


def zeroed_block(content: bytearray, rng: np.random.Generator) -> bytearray:
    start, size = block(content, rng)
    content[start : start + size] = bytes(size)
    return content


def repeated_block(content: bytearray, rng: np.random.Generator) -> bytearray:
    start, size = block(content, rng)
    return content[: start + size] + content[start:]


def swapped_blocks(content: bytearray, rng: np.random.Generator) -> bytearray:
    size = max(1, len(content) // int(rng.integers(4, 40)))
    a, b = sorted(int(at) for at in rng.integers(0, max(1, len(content) - 2 * size), 2))
    b = max(b, a + size)
    return content[:a] + content[b : b + size] + content[a + size : b] + content[a : a + size] + content[b + size :]


def damaged_header(content: bytearray, rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, min(len(content), 2048), int(rng.integers(1, 12))):
        content[at] = int(rng.integers(256))
    return content


def damaged_end(content: bytearray, rng: np.random.Generator) -> bytearray:
    """MP4 files often have their index at the end."""
    for at in rng.integers(max(0, len(content) - 8192), len(content), int(rng.integers(1, 40))):
        content[at] = int(rng.integers(256))
    return content


def block(content: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    size = int(rng.integers(1, max(2, len(content) // 8)))
    return int(rng.integers(0, len(content) - size + 1)), size


MUTATIONS: tuple[Mutation, ...] = (
    cut_off,
    beheaded,
    flipped_bits,
    zeroed_block,
    repeated_block,
    swapped_blocks,
    damaged_header,
    damaged_end,
)


def sources(shared: Path) -> list[Path]:
    data = shared / "data"
    files = [f for f in data.glob("awkward/*/*") if f.suffix in {".mp4", ".mkv", ".mov", ".avi", ".webm"}]
    files += [f for f in data.glob("known-labels/*") if f.suffix in {".mp4", ".avi"}]
    files += sorted(data.glob("ut-interaction/set*/*/*.avi"))[::6]
    files += sorted(data.glob("ssv2-mini/videos/*/0001.jpg"))[:3]
    return sorted(f for f in files if f.stat().st_size)


def mutated(folder: Path, sources: list[Path], number: int) -> Path:
    """Mutation ``number`` of one of the files; an image is put into a folder, between two good ones."""
    rng = np.random.default_rng([7, number])
    source = sources[int(rng.integers(len(sources)))]
    mutation = MUTATIONS[number % len(MUTATIONS)]
    good = source.read_bytes()
    path = folder / f"{number:04d}_{mutation.__name__}_{source.name}"
    if source.suffix == ".jpg":
        path.mkdir()
        (path / "1.jpg").write_bytes(good)
        (path / "3.jpg").write_bytes(good)
        (path / "2.jpg").write_bytes(mutation(bytearray(good), rng))
    else:
        path.write_bytes(mutation(bytearray(good), rng))
    return path


def test_sixty_damaged_files(shared: Path, tmp_path: Path) -> None:
    """In this process: what is neither frames nor a ClipError fails the test with its traceback."""
    small = [f for f in sources(shared) if f.stat().st_size < 400_000]
    outcomes: Counter[str] = Counter()
    for number in range(60):
        path = mutated(tmp_path, small, number)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ClipWarning)
                clip = read_clip(path, 3)
            info = probe(path)
            assert clip.frames.shape[0] == 3
            assert (np.diff(clip.pts_s) >= 0).all()
            assert info.end_s > info.start_s
            outcomes["frames"] += 1
        except ClipError as error:
            outcomes["ClipError" if str(path) in str(error) else "ClipError without the path"] += 1
    assert set(outcomes) == {"frames", "ClipError"}
    assert outcomes["frames"] >= 15
    assert outcomes["ClipError"] >= 5


WORKER = """
import ctypes, json, os, sys, warnings
import cv2
from kinelite.data.decode import ClipError, read_clip
cv2.setNumThreads(0)
warnings.simplefilter("ignore")
page = os.sysconf("SC_PAGE_SIZE")
for line in sys.stdin:
    try:
        outcome = "frames" if len(read_clip(line.rstrip("\\n"), 8).frames) == 8 else "too few frames"
    except ClipError as error:
        outcome = type(error).__name__
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
    # What the C library keeps of memory that was freed depends on the sizes of the pictures, and is no growth.
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    with open("/proc/self/statm") as memory:
        rss = int(memory.read().split()[1]) * page
    print(json.dumps([outcome, rss]), flush=True)
"""


class Worker:
    """A process that reads files; killed and started again when it takes too long or dies."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> tuple[str, float, int]:
        """What became of it, in how many seconds, and the worker's memory in bytes afterwards."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        began = time.perf_counter()
        print(path, file=self.process.stdin, flush=True)
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if ready.select(LIMIT_S) else "hang"
        seconds = time.perf_counter() - began
        if line.startswith("["):
            outcome, rss = json.loads(line)
            return outcome, seconds, rss
        self.close()
        return line or "crash", seconds, 0

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.process = None


def read_all(folder: Path, sources: list[Path], numbers: range) -> Iterator[tuple[str, str, float, int]]:
    worker = Worker()
    try:
        for number in numbers:
            path = mutated(folder, sources, number)
            yield path.name, *worker.read(path)
            if path.is_file():
                path.unlink()
    finally:
        worker.close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc")
def test_a_thousand_damaged_files(shared: Path, tmp_path: Path) -> None:
    """No crash, no hang, no exception but ClipError; the workers' memory stays flat. The figures are printed."""
    found = sources(shared)
    began = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        shares = [range(first, FILES, WORKERS) for first in range(WORKERS)]
        results = list(pool.map(lambda numbers: list(read_all(tmp_path, found, numbers)), shares))
    every = [result for share in results for result in share]
    outcomes = Counter(outcome for _, outcome, _, _ in every)
    slowest = max(every, key=lambda result: result[2])
    growth = []
    for share in results:
        rss = np.array([rss for _, _, _, rss in share]) / 2**20
        fifth = len(rss) // 5
        growth.append((float(np.median(rss[:fifth])), float(np.median(rss[-fifth:]))))
    print(f"\n{len(every)} files in {time.perf_counter() - began:.0f} s by {WORKERS} workers: {dict(outcomes)}")
    print(f"slowest: {slowest[0]} {slowest[2]:.2f} s ({slowest[1]})")
    print("memory of each worker, median of its first and last fifth:", [f"{a:.0f} -> {b:.0f} MiB" for a, b in growth])
    odd = [result for result in every if result[1] not in {"frames", "ClipError", "DamagedClip"}]
    assert not odd, odd[:10]
    assert all(after < before + 32 for before, after in growth), growth
