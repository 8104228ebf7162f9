"""One file from an https address: into the cache, resumed where it broke off, checked, whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kinelite.cache import cache_folder
from kinelite.errors import SetupError, UsageError
from kinelite.lock import exclusive
from kinelite.records import explained

TIMEOUT_S = 30.0
ATTEMPTS = 4
"""How often in a row a transfer may break off without a new byte before it is given up."""
RETRY_S = 1.0
"""Wait before the second attempt; doubled before each further one."""
_CHUNK = 1 << 20
_BROKEN = (OSError, http.client.HTTPException)
_ONE_AT_A_TIME = threading.Lock()  # the lock file keeps out other processes, not other threads


class _Changed(Exception):
    """What is there of the file cannot be continued."""


def fetch(address: str, checksum: str = "") -> Path:
    """The file at an address, from the cache when a whole copy is there.

    The copy lies in ``weights/HOST/PATH`` of the cache folder, with its checksum beside it, which is compared at each
    use. Two processes that ask at once fetch it once.

    Args:
        address: https, or http on this machine.
        checksum: SHA-256 that it must have, or the first digits of it.

    Raises:
        UsageError: no such file at the address, or plain http.
        SetupError: it cannot be fetched (with the address and where to put the file), or has another checksum.
    """
    _check_address(address)
    file = place_of(address)
    if _is_whole(file, checksum):
        return file
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        damaged = "the copy in the cache is damaged, and " if file.is_file() else ""
        raise _unreachable(address, file, f"{damaged}HF_HUB_OFFLINE is set")
    with explained(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(file):
        # Another process may have fetched it while this one waited.
        if not _is_whole(file, checksum):
            _download(address, file, checksum)
    return file


def place_of(address: str) -> Path:
    """Where the file of an address lies, or will lie. A query is part of the name, as a few digits."""
    parts = urllib.parse.urlsplit(address)
    words = [_safe(urllib.parse.unquote(word)) for word in (parts.netloc, *parts.path.split("/")) if word]
    if parts.query:
        words.insert(-1, hashlib.sha256(parts.query.encode()).hexdigest()[:12])
    return cache_folder().joinpath("weights", *words)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_address(address: str) -> None:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise UsageError(f"'{address}' is plain http, where anyone on the way can change the file. Use https.")
    if not parts.hostname or not parts.path.strip("/"):
        raise UsageError(f"'{address}' names no file. Write https://HOST/PATH/FILE.")


def _safe(word: str) -> str:
    """A word of an address as a name on any file system."""
    return re.sub(r"[^\w.+=@,-]", "_", word).lstrip(".") or "_"


def _is_whole(file: Path, checksum: str) -> bool:
    """Whether the file is there and is what was fetched; a file that someone put there has only ``checksum``."""
    if not file.is_file():
        return False
    noted = _read_note(_beside(file, "json")).get("sha256", "")
    if not (noted or checksum):
        return True
    got = sha256_of(file)
    return got.startswith(checksum) and got.startswith(noted)


def _download(address: str, file: Path, checksum: str) -> None:
    part, note = _beside(file, "part"), _beside(file, "part.json")
    print(f"Fetching {address}", file=sys.stderr)
    _transfer(address, file, part, note)
    got = sha256_of(part)
    note.unlink(missing_ok=True)
    if not got.startswith(checksum):
        part.unlink()
        raise SetupError(
            f"{address} was fetched and has the checksum {got[:16]}..., where {checksum} is published. It was thrown "
            "away: the transfer was damaged, or the file is not the one that was meant. Try again."
        )
    with explained(file.parent):
        _write_note(_beside(file, "json"), {"address": address, "sha256": got})
        os.replace(part, file)


def _transfer(address: str, file: Path, part: Path, note: Path) -> None:
    """Fill ``part``, going on where a broken transfer ended, also one of an earlier process."""
    failed = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            return _attempt(address, part, note)
        except _Changed:
            part.unlink(missing_ok=True)
            note.unlink(missing_ok=True)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in (408, 429, 500, 502, 503, 504):
                raise _answered(address, file, error.code) from error
            reason = f"the server answered {error.code}"
        except _BROKEN as error:
            _raise_local(error, part)
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            continue
        grown = part.is_file() and part.stat().st_size > before
        failed = 1 if grown else failed + 1
        if failed >= ATTEMPTS:
            raise _unreachable(address, file, reason)
        time.sleep(RETRY_S * 2 ** (failed - 1))


def _attempt(address: str, part: Path, note: Path) -> None:
    """One request. Raises what broke it, or `_Changed` when the server has another file than the one begun."""
    begun = part.stat().st_size if part.is_file() else 0
    version = _read_note(note).get("version", "")
    headers = {"User-Agent": "kinelite", "Accept-Encoding": "identity"}
    if begun and version:
        headers |= {"Range": f"bytes={begun}-", "If-Range": version}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise _Changed from error
        raise
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise SetupError(f"{address} answers with a web page instead of a file. Look at it with a browser.")
        continues = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-")
        if answer.status == 206 and not continues:
            raise _Changed
        if not continues:
            version = answer.headers.get("ETag", "") or answer.headers.get("Last-Modified", "")
            # A weak tag (W/) promises an equal meaning, not equal bytes.
            _write_note(note, {"version": "" if version.startswith("W/") else version})
        length = answer.headers.get("Content-Length")
        _copy(answer, part, "ab" if continues else "wb", None if length is None else int(length))


def _copy(answer: Any, part: Path, mode: str, length: int | None) -> None:
    """Append or write the body of an answer. Raises ConnectionError when fewer than ``length`` bytes came."""
    from rich.console import Console
    from rich.progress import Progress

    written = 0
    with part.open(mode) as target, Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(part.name.strip(".").removesuffix(".part"), total=length)
        while chunk := answer.read(_CHUNK if length is None else min(_CHUNK, length - written)):
            target.write(chunk)
            written += len(chunk)
            progress.advance(bar, len(chunk))
        target.flush()
        os.fsync(target.fileno())
    if length is not None and written < length:
        raise ConnectionError(f"the transfer broke off after {written} of {length} bytes")


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Wait for other processes that fetch the same file, and keep them waiting."""
    with _ONE_AT_A_TIME, contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(exclusive(_beside(file, "lock"), "busy"))
                break
            except UsageError:
                time.sleep(0.2)
        yield


def _beside(file: Path, kind: str) -> Path:
    return file.with_name(f".{file.name}.{kind}")


def _read_note(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_note(path: Path, note: dict[str, str]) -> None:
    path.write_text(json.dumps(note), encoding="utf-8")


def _raise_local(error: BaseException, part: Path) -> None:
    """Raise SetupError when it was this machine's disk that failed, not the network."""
    local = isinstance(error, OSError) and (
        error.filename in (str(part), part) or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    )
    if local:
        with explained(part.parent):
            raise error


def _answered(address: str, file: Path, code: int) -> Exception:
    if code in (404, 410):
        return UsageError(f"There is no file at {address} (the server answered {code}). Check the address.")
    if code in (401, 403):
        return SetupError(
            f"{address} takes a login (the server answered {code}). Download it with a browser and pass the file "
            f"(--pretrained {file.name}; to predict and eval MODEL@{file.name}), or put it at {file}"
        )
    return _unreachable(address, file, f"the server answered {code}")


def _unreachable(address: str, file: Path, why: str) -> SetupError:
    return SetupError(
        f"Could not fetch {address} ({why}). On a machine with network download it and pass the file "
        f"(--pretrained {file.name}; to predict and eval MODEL@{file.name}), or put it at {file}"
    )
