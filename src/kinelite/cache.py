"""Where things live that can be made or fetched again."""

from __future__ import annotations

import os
import sys
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
