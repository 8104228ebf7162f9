"""The process that makes one measurement: a case as JSON on standard input, its outcome as the last line of output."""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from kinelite.bench.case import Case, Outcome
from kinelite.records import plain

LEFT_SHARE = 0.05
"""Of the free memory that a measurement leaves to the rest of the machine."""


def main() -> None:
    """Measure and print."""
    case = Case(**json.load(sys.stdin))
    keep_within_memory(case.device)
    try:
        from kinelite.bench.measure import measure

        outcome = measure(case)
    except Exception as error:  # whatever a model or a runtime raises is what came of the measurement
        traceback.print_exc()
        outcome = Outcome("failed", f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
    print(json.dumps(plain(asdict(outcome))), flush=True)


def keep_within_memory(device: str, spare_bytes: int = 0) -> None:
    """Let an allocation that the machine has no room for fail, before the system kills something to make room.

    ``spare_bytes`` of what is free are another's.
    """
    if device == "cuda":  # a GPU's driver reserves far more addresses than there is memory
        return
    with contextlib.suppress(OSError, ValueError, StopIteration, ImportError):
        import resource

        limit = int(max(0, _free_bytes() - spare_bytes) * (1 - LEFT_SHARE))
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        # Should the estimate fail, it is this process that goes.
        Path("/proc/self/oom_score_adj").write_text("1000")


def _free_bytes() -> int:
    """Memory that is free on the machine, or in the container when that is less."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = [next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))]
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return min(free)


if __name__ == "__main__":
    main()
