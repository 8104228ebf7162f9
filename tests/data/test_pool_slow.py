"""Memory of workers over 20,000 real clips. Minutes long: `make test-slow`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kinelite.data.dataset import ClipDataset, Key, Reading
from kinelite.data.manifest import Manifest
from kinelite.data.pool import Pool
from kinelite.data.sets import load_any
from kinelite.types import InputSpec

CLIPS, SETTLED, BATCH = 20_000, 2_000, 20


def rss_mib(pid: int) -> float:
    """Resident memory of a process, the frames shared with the trainer left out."""
    resident, shared = (int(word) for word in Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.fixture
def real_clips(shared: Path) -> Manifest:
    """UT-Interaction (MPEG-4) and clips of other codecs and sizes, up to 640 pixels wide for the sake of time."""
    found = [load_any(str(shared / "data" / name)) for name in ("ut-interaction", "known-labels")]
    rows = tuple(replace(row, labels=(0,)) for part in found for row in part.rows if "skeleton" not in row.path)
    assert len(rows) >= 130
    return Manifest("real clips", {"label": ("-",)}, rows)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_of_workers_stays_flat_over_20_000_clips(
    real_clips: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = Reading(InputSpec(8, 112), "lightweight_kinetics")
    pool = Pool(ClipDataset(real_clips, reading), BATCH, 2)
    many = len(real_clips.rows)

    def keys() -> Iterator[list[Key]]:
        for first in range(0, CLIPS, BATCH):
            yield [Key(number // many, number % many) for number in range(first, first + BATCH)]

    marks: dict[int, list[float]] = {}
    read = 0
    try:
        for samples in pool.batches(keys()):
            assert all(sample.problem is None for sample in samples)
            read += len(samples)
            if read % SETTLED == 0:
                marks[read] = [rss_mib(pid) for pid in sorted(pool.pids())]
    finally:
        pool.close()
    with capsys.disabled():
        print("\nworker memory in MiB:", json.dumps({n: [round(v, 1) for v in values] for n, values in marks.items()}))
    assert read == CLIPS
    assert pool.restarts == 0
    for settled, final in zip(marks[SETTLED], marks[CLIPS], strict=True):
        assert final <= 1.05 * settled + 3, f"grew from {settled:.0f} to {final:.0f} MiB"
