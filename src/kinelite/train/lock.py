"""One process per run folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kinelite.errors import UsageError
from kinelite.records import explained


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises UsageError when another process holds it; a killed one never leaves it locked."""
    # lockf, not flock: the processes that decode inherit an flock and would hold it for seconds after a kill.
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks, the user sees to it
        yield
        return
    with explained(folder):
        file = open(folder / ".lock", "a")  # noqa: SIM115  (held until the run ends)
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise UsageError(
                f"Another process is training in '{folder}'. Wait for it, or choose another --out."
            ) from None
        yield
