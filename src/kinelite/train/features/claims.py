"""Which process makes which block: advisory locks on single bytes of one file, which die with their holder.

They hold between the processes of one machine and, on a disk that several machines share, between machines as far as
its file system passes such locks on (NFS does).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from kinelite.records import explained

try:
    import fcntl as _fcntl
except ImportError:  # Windows
    _fcntl = None
_locks: ModuleType | None = _fcntl

FILE = "claims.lock"
_BEGINNING = 2**40
"""The byte that stands for the store as a whole, far behind those of the blocks."""


class Claims:
    """Locks on the blocks of a folder. Without the system's support every claim is granted: one process at a time.

    One object per folder and process: the system knows processes, not objects, and gives up a process's locks when any
    of its handles on the file is closed.
    """

    def __init__(self, folder: Path) -> None:
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(folder / FILE, "a+b")  # noqa: SIM115  (held until `close`)

    @property
    def shared(self) -> bool:
        """Whether other processes are kept out."""
        return _locks is not None

    def take(self, block: int) -> bool:
        """Claim a block; False when another process holds it."""
        if _locks is None:
            return True
        try:
            _locks.lockf(self._file, _locks.LOCK_EX | _locks.LOCK_NB, 1, block)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release(self, block: int) -> None:
        """Give a block up."""
        if _locks is not None:
            _locks.lockf(self._file, _locks.LOCK_UN, 1, block)

    @contextlib.contextmanager
    def beginning(self) -> Iterator[None]:
        """Alone with the store: for writing what makes a folder one. Waits for others."""
        if _locks is not None:
            _locks.lockf(self._file, _locks.LOCK_EX, 1, _BEGINNING)
        try:
            yield
        finally:
            self.release(_BEGINNING)

    def close(self) -> None:
        """Give up everything."""
        self._file.close()
