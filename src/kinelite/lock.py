"""One process at a time: an advisory lock on a file, which a killed process never leaves behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kinelite.errors import UsageError
from kinelite.records import explained


@contextlib.contextmanager
def exclusive(file: Path, busy: str) -> Iterator[None]:
    """Hold the lock ``file``, made where it is missing. Raises UsageError(``busy``) when another process holds it."""
    # lockf, not flock: the processes that decode inherit an flock and would hold it for seconds after a kill.
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks, the user sees to it
        yield
        return
    with explained(file.parent):
        held = open(file, "a")  # noqa: SIM115  (held until the work ends)
    with held:
        try:
            fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise UsageError(busy) from None
        yield
