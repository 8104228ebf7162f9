"""Workers that die, hang or are killed cost at most the clip they were on, and change nothing else."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinelite.data import pool as pooling
from kinelite.data.dataset import ClipDataset, Key, Reading, Sample
from kinelite.data.manifest import Manifest
from kinelite.data.pool import Pool
from kinelite.data.sets import load_set
from kinelite.errors import SetupError, UsageError
from kinelite.types import InputSpec

# Stands for a file on which a decoder hangs or crashes: none of the known ones does it with certainty.
TROUBLE = """
import os, pathlib, signal, time
import kinelite.data.dataset as dataset

read_part = dataset.read_part

def trouble(path, *rest):
    if "hang" in path:
        time.sleep(1000)
    if "slow" in path:
        time.sleep(0.2)
    if "crash" in path:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "once" in path and not (mark := pathlib.Path(path + ".seen")).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if "bug" in path:
        raise ValueError("no such thing")
    return read_part(path, *rest)

dataset.read_part = trouble
"""


@pytest.fixture(scope="module")
def clips(clip_folder: Path) -> Manifest:
    return load_set(f"folder:{clip_folder}")


@pytest.fixture
def troubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for clips whose name causes trouble in workers."""
    (tmp_path / "sitecustomize.py").write_text(TROUBLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def pools() -> Iterator[list[Pool]]:
    opened: list[Pool] = []
    yield opened
    for pool in opened:
        pool.close()


def dataset(clips: Manifest) -> ClipDataset:
    return ClipDataset(clips, Reading(InputSpec(4, 32), "lightweight_ssv2", seed=5))


def with_clip(clips: Manifest, folder: Path, name: str, place: int = 3) -> Manifest:
    """The set with one clip under another name."""
    path = folder / f"{name}.mp4"
    path.write_bytes(Path(clips.rows[place].path).read_bytes())
    rows = list(clips.rows)
    rows[place] = replace(rows[place], path=str(path))
    return replace(clips, rows=tuple(rows))


def keys(count: int, batch: int, epoch: int = 0) -> list[list[Key]]:
    order = [Key(epoch, i) for i in range(count)]
    return [order[i : i + batch] for i in range(0, count, batch)]


def read(pool: Pool, order: list[list[Key]]) -> list[Sample]:
    """All samples, their frames copied out of the shared memory."""
    found = []
    for samples in pool.batches(order):
        found += [replace(s, frames=None if s.frames is None else s.frames.copy()) for s in samples]
    return found


def assert_same(found: list[Sample], expected: list[Sample]) -> None:
    assert [s.index for s in found] == [s.index for s in expected]
    for a, b in zip(found, expected, strict=True):
        assert a.problem is None
        assert a.labels == b.labels
        assert np.array_equal(a.frames, b.frames)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash", r"crash\.mp4: ended its reader twice \(signal SIGSEGV\)"),
        ("hang", r"hang\.mp4: took longer than 1 s and was given up"),
        ("bug", r"bug\.mp4: cannot be read \(ValueError: no such thing\)"),
    ],
)
def test_a_clip_that_ends_its_reader_is_named_and_the_others_are_read(
    clips: Manifest, troubled: Path, pools: list[Pool], name: str, reason: str
) -> None:
    pools.append(pool := Pool(dataset(with_clip(clips, troubled, name)), 5, 2, limit_s=1.0))
    found = read(pool, keys(12, 5))
    bad = found.pop(3)
    assert bad.frames is None
    assert bad.index == 3
    assert bad.problem is not None
    assert re.search(reason, bad.problem), bad.problem
    alone = dataset(clips)
    assert_same(found, [alone[Key(0, i)] for i in range(12) if i != 3])
    assert pool.restarts == {"crash": 2, "hang": 1, "bug": 0}[name]


def test_a_worker_that_dies_of_something_else_costs_no_clip(clips: Manifest, troubled: Path, pools: list[Pool]) -> None:
    pools.append(pool := Pool(dataset(with_clip(clips, troubled, "once")), 4, 2))
    alone = dataset(clips)
    assert_same(read(pool, keys(12, 4)), [alone[Key(0, i)] for i in range(12)])
    assert pool.restarts == 1


def test_workers_killed_at_random_moments_change_nothing(clips: Manifest, pools: list[Pool]) -> None:
    pools.append(pool := Pool(dataset(clips), 3, 2))
    order = [part for epoch in range(20) for part in keys(12, 3, epoch)]
    chance, over = random.Random(7), threading.Event()

    def kill() -> None:
        for _ in range(6):
            if over.wait(chance.uniform(0.2, 0.5)):
                return
            victim = chance.choice(pool.pids())
            os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    read(pool, order[:1])  # the workers are up
    killer.start()
    try:
        found: list[Sample] = []
        while killer.is_alive():
            found = read(pool, order)
    finally:
        over.set()
        killer.join()
    alone = dataset(clips)
    assert pool.restarts >= 3
    assert_same(found, [alone[key] for part in order for key in part])


def test_an_epoch_that_is_broken_off_leaves_nothing_behind(clips: Manifest, pools: list[Pool]) -> None:
    pools.append(pool := Pool(dataset(clips), 2, 2))
    alone = dataset(clips)
    for epoch in range(3):
        for samples in pool.batches(keys(12, 2, epoch)):
            assert samples[0].index == 0
            break
        assert_same(read(pool, keys(12, 2, 9)), [alone[Key(9, i)] for i in range(12)])


def test_batches_smaller_than_the_crew_keep_it_busy(clips: Manifest, pools: list[Pool]) -> None:
    pools.append(pool := Pool(dataset(clips), 1, 3))
    assert pool.blocks >= 4
    alone = dataset(clips)
    assert_same(read(pool, keys(12, 1)), [alone[Key(0, i)] for i in range(12)])
    assert set(pool.stage_s) >= {"decode", "augment", "pack"}
    assert all(seconds > 0 for seconds in pool.stage_s.values())


def test_a_worker_that_cannot_start_says_why(
    clips: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pools: list[Pool]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.exit('no such decoder here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    pools.append(pool := Pool(dataset(clips), 4, 1))
    with pytest.raises(SetupError, match=r"(?s)do not start.*no such decoder here"):
        read(pool, keys(4, 4))


def test_no_room_for_shared_memory_is_said_before_anything_starts(
    clips: Manifest, monkeypatch: pytest.MonkeyPatch, pools: list[Pool]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooling, "_reserve", full)
    pools.append(pool := Pool(dataset(clips), 4, 1))
    with pytest.raises(SetupError, match=r"shared memory.*--workers"):
        read(pool, keys(4, 4))


def test_readers_do_not_load_pytorch() -> None:
    code = "import sys, kinelite.data.worker; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]


def test_workers_end_with_a_trainer_that_was_killed(clip_folder: Path) -> None:
    code = f"""
    from kinelite.data.dataset import *
    from kinelite.data.pool import Pool
    from kinelite.data.sets import load_set
    from kinelite.types import InputSpec
    clips = load_set("folder:{clip_folder}")
    pool = Pool(ClipDataset(clips, Reading(InputSpec(4, 32))), 4, 2)
    for samples in pool.batches([[Key(0, i) for i in range(4)]]):
        print(*pool.pids(), flush=True)
        import time; time.sleep(100)
    """
    trainer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    workers = [int(word) for word in trainer.stdout.readline().split()]
    assert len(workers) == 2
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    limit_s = time.monotonic() + 10
    while any(_alive(worker) for worker in workers):
        assert time.monotonic() < limit_s, "a worker outlives its trainer"
        time.sleep(0.1)


def test_a_reader_that_spins_without_releasing_pythons_lock_ends_too(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import re, kinelite.data.dataset as dataset, kinelite.data.serve as serve\n"
        "serve.STUCK_S = 3.0\n"
        "dataset.read_part = lambda *_: re.match('(a+)+$', 'a' * 60 + 'b')\n"
    )
    code = f"""
    import sys, threading, time
    sys.path.insert(0, "{tmp_path}")
    from kinelite.data.dataset import *
    from kinelite.data.pool import Pool
    from kinelite.data.sets import load_set
    from kinelite.types import InputSpec
    pool = Pool(ClipDataset(load_set("folder:{clip_folder}"), Reading(InputSpec(4, 32))), 2, 1)
    threading.Timer(2.0, lambda: print(*pool.pids(), flush=True)).start()
    list(pool.batches([[Key(0, 0)]]))
    """
    trainer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    worker = int(trainer.stdout.readline())
    trainer.kill()
    trainer.communicate()
    limit_s = time.monotonic() + 30
    try:
        while _alive(worker):
            assert time.monotonic() < limit_s, "a reader spins for ever"
            time.sleep(0.1)
    finally:
        if _alive(worker):
            os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("limit_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(clips: Manifest, limit_s: float) -> None:
    with pytest.raises(UsageError, match="limit"):
        Pool(dataset(clips), 4, 1, limit_s=limit_s)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_trainer_that_was_stopped_and_continued_gives_no_clip_up(clip_folder: Path, troubled: Path) -> None:
    (troubled / "clips").mkdir()
    for n in range(4):
        shutil.copy(clip_folder / "moves_down/0.mp4", troubled / f"clips/slow{n}.mp4")
    code = f"""
    import sys
    sys.path.insert(0, "{troubled}")
    from kinelite.data.dataset import *
    from kinelite.data.pool import Pool
    from kinelite.data.sets import load_any
    from kinelite.types import InputSpec
    pool = Pool(ClipDataset(load_any("{troubled}/clips"), Reading(InputSpec(4, 32))), 4, 2, limit_s=1.0)
    problems = 0
    for number, samples in enumerate(pool.batches([[Key(0, i) for i in range(4)]] * 20)):
        problems += sum(sample.problem is not None for sample in samples)
        if not number:
            print(*pool.pids(), flush=True)
    print("problems", problems, "restarts", pool.restarts)
    """
    trainer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    everybody = [trainer.pid, *map(int, trainer.stdout.readline().split())]
    for number in everybody[::-1]:  # as Ctrl-Z does
        os.kill(number, signal.SIGSTOP)
    time.sleep(3.5)
    for number in everybody:
        os.kill(number, signal.SIGCONT)
    assert trainer.communicate(timeout=60)[0].split() == ["problems", "0", "restarts", "0"]


def test_an_iteration_that_is_over_says_so_instead_of_waiting(clips: Manifest, pools: list[Pool]) -> None:
    pools.append(pool := Pool(dataset(clips), 4, 1))
    first, second = pool.batches(keys(12, 4)), pool.batches(keys(12, 4, 1))
    next(first)
    next(second)
    with pytest.raises(UsageError, match="begun"):
        next(first)
    pool.close()
    with pytest.raises(UsageError, match="closed"):
        next(second)


def test_who_waits_for_workers_that_are_ended_gets_an_error(clips: Manifest, troubled: Path, pools: list[Pool]) -> None:
    pools.append(pool := Pool(dataset(with_clip(clips, troubled, "hang", 0)), 1, 1))
    ender = threading.Timer(1.0, pool.close)
    ender.start()
    with pytest.raises(SetupError, match="ended meanwhile"):
        list(pool.batches(keys(1, 1)))
    ender.join()


def test_modules_in_the_current_folder_are_not_taken_for_the_readers_own(
    clips: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pools: list[Pool]
) -> None:
    (tmp_path / "random.py").write_text("raise RuntimeError('not meant')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    pools.append(pool := Pool(dataset(clips), 4, 1))
    assert all(sample.problem is None for sample in read(pool, keys(4, 4)))


def test_no_more_open_files_is_said_and_closing_still_works(clip_folder: Path) -> None:
    code = f"""
    import os, resource, signal
    from kinelite.data.dataset import *
    from kinelite.data.pool import Pool
    from kinelite.data.sets import load_set
    from kinelite.types import InputSpec
    clips = load_set("folder:{clip_folder}")
    pool = Pool(ClipDataset(clips, Reading(InputSpec(4, 32))), 4, 2)
    batches = pool.batches([[Key(0, i) for i in range(4)]] * 100)
    next(batches)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    os.kill(pool.pids()[0], signal.SIGKILL)
    try:
        list(batches)
    except Exception as error:
        print(type(error).__name__, error)
    pool.close()
    """
    said = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert said.stdout.startswith("SetupError A process that reads clips cannot start: Too many open files")
    assert (said.stderr, said.returncode) == ("", 0)


def test_closing_does_not_wait_for_clips_in_hand(clips: Manifest, troubled: Path, pools: list[Pool]) -> None:
    rows = tuple(row for n in range(4) for row in with_clip(clips, troubled, f"hang{n}", n).rows[n : n + 1])
    pools.append(pool := Pool(dataset(replace(clips, rows=rows)), 4, 4))

    def wait() -> None:
        with pytest.raises(SetupError, match="ended meanwhile"):
            read(pool, keys(4, 4))

    reader = threading.Thread(target=wait)
    reader.start()
    while not pool.pids():
        time.sleep(0.05)
    time.sleep(1.5)  # they hang
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 1.0
    reader.join()


def test_what_readers_say_of_clips_that_are_read_is_not_kept(
    clips: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pools: list[Pool]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, kinelite.data.dataset as d\nread = d.read_part\n"
        "def loud(*a):\n    os.write(2, b'Corrupt JPEG data' * 1000)\n    return read(*a)\nd.read_part = loud\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    pools.append(pool := Pool(dataset(clips), 4, 1))
    read(pool, keys(12, 4))
    assert pool._crew is not None
    assert all(os.fstat(worker.errors.fileno()).st_size == 0 for worker in pool._crew._workers)
