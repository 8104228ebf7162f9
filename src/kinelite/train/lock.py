"""One process per run folder."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from kinelite.lock import exclusive


def locked(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder's lock. Raises UsageError when another process holds it; a killed one never leaves it locked."""
    return exclusive(
        folder / ".lock", f"Another process is training in '{folder}'. Wait for it, or choose another --out."
    )
