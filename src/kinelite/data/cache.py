"""Things that are made once and kept: how they appear in the cache complete or not at all."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from kinelite.cache import cache_folder
from kinelite.errors import SetupError

_ABANDONED_S = 24 * 3600.0


def build_once(name: str, build: Callable[[Path], None]) -> Path:
    """The cache's subfolder ``name``, filled by ``build(folder)`` when it is not there yet.

    ``build`` works in a temporary neighbour that takes its final name in one step, so an interrupted build leaves
    nothing that looks finished, and of two processes that build at once the first one to end wins.
    Raises SetupError when the cache cannot be written.
    """
    final = cache_folder() / name
    try:
        if not final.is_dir():
            _build(final, build)
    except OSError as error:
        raise SetupError(
            f"Cannot write to the cache folder {final.parent}: {error.strerror or error}. "
            "Free some space or name another folder: KINELITE_CACHE=FOLDER kinelite ..."
        ) from error
    return final


def _build(final: Path, build: Callable[[Path], None]) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    _sweep(final)
    temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        build(temporary)
        temporary.replace(final)
    except OSError:
        # Renaming onto a folder that another process has just finished fails, and that is fine.
        if not final.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(final: Path) -> None:
    """Remove what killed builds left behind; a day is far longer than any build takes."""
    for left in final.parent.glob(f".{final.name}.*"):
        try:
            abandoned = time.time() - left.stat().st_mtime > _ABANDONED_S
        except FileNotFoundError:
            continue
        if abandoned:
            shutil.rmtree(left, ignore_errors=True)
