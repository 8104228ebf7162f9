"""Where things live that can be made or fetched again."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from pathlib import Path

from kinelite.errors import SetupError


def cache_folder() -> Path:
    """Folder of everything that can be made again: $KINELITE_CACHE, else 'kinelite' in the user's cache.

    Raises SetupError for a user without a home folder.
    """
    chosen = os.environ.get("KINELITE_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "kinelite"
    except RuntimeError as error:
        raise SetupError("No home folder for the cache. Name one: KINELITE_CACHE=FOLDER kinelite ...") from error


@cache
def code_of(*packages: str) -> str:
    """Digest of the source of these packages of Kinelite: what another checkout of the same version made is none of
    this one's. Takes 10 ms."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((Path(__file__).parent / package).rglob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
