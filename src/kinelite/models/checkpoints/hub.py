"""From ``--pretrained`` to a file on this machine: a release of the card, a file of the hub, an address, a path."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinelite.errors import SetupError, UsageError, unknown
from kinelite.models.checkpoints.https import fetch, sha256_of

if TYPE_CHECKING:
    from kinelite.models.registry import Card, Release

USUAL_FILES = ("model.safetensors", "pytorch_model.bin")
"""What is looked for when an hf: name ends with the repository, in this order."""
_HF = re.compile(r"hf:([^/@\s]+/[^/@\s]+)(?:@([^/\s]+))?(?:/(\S+))?")


@dataclass(frozen=True)
class Found:
    """Weights on this machine."""

    path: Path
    label: str
    """What to call them in messages: 'k400 (hf:OWNER/REPOSITORY)', or the file."""
    release: Release | None = None
    """The release of the card that they are, if they are one."""


def find_weights(source: str, card: Card | None = None) -> Found:
    """The file that a source stands for, fetched where it is not here yet.

    Args:
        source: a file; the name of one of the card's releases; ``hf:OWNER/REPOSITORY[@REVISION][/FILE]``; an https
            address.
        card: whose releases may be named.

    Raises:
        UsageError: a name that is none of these, or a file that its repository does not have.
        SetupError: the file cannot be fetched, or what came is not what its publisher has.
    """
    releases = {release.name: release for release in card.releases} if card else {}
    release = releases.get(source) or next((r for r in releases.values() if r.address == source), None)
    address = release.address if release else source
    label = f"{release.name} ({address})" if release and source == release.name else source
    checksum = release.sha256 if release else ""
    if address.startswith("hf:"):
        return Found(from_hub(address, checksum), label, release)
    if re.match(r"https?://", address):
        return Found(fetch(address, checksum), label, release)
    if card and not release and _looks_like_a_name(source):
        raise unknown("weights", source, ["hub", *releases], f"kinelite info {card.name}")
    return Found(Path(address), label, release)


def from_hub(address: str, checksum: str = "") -> Path:
    """A file of the hub, through the hub's own client and in its own cache, compared with the hub's checksum.

    Args:
        address: ``hf:OWNER/REPOSITORY[@REVISION][/FILE]``; without a file, one of `USUAL_FILES`.
        checksum: SHA-256 that it must have beside, or the first digits of it.

    Raises like `find_weights`.
    """
    match = _HF.fullmatch(address)
    if match is None:
        raise UsageError(f"'{address}' is no hub name. Write hf:OWNER/REPOSITORY, /FILE behind it, @REVISION between.")
    repository, revision, file = match.groups()
    for name in (file,) if file else USUAL_FILES:
        path = _hub_file(repository, name, revision, checksum, needed=bool(file))
        if path is not None:
            return path
    listed = _listing(repository, revision)
    raise UsageError(
        f"{repository} has neither {' nor '.join(USUAL_FILES)}. Name a file: hf:{repository}/FILE"
        + (f", one of {', '.join(listed)}." if listed else ".")
    )


def mend(repository: str) -> None:
    """Fetch damaged copies in the hub's cache again, for whoever reads them without a look at their checksum.

    ``repository`` is OWNER/REPOSITORY[@REVISION]. Nothing is asked of the hub while the copies are whole.
    Raises SetupError when a damaged one cannot be fetched.
    """
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repository.partition("@")
    for file in USUAL_FILES:
        cached = try_to_load_from_cache(name, file, revision=revision or None)
        if isinstance(cached, str) and _damage(Path(cached), ""):
            _hub_file(name, file, revision or None, "", needed=True)


def hub_config(address: str) -> dict[str, Any]:
    """The ``config.json`` beside a file of the hub; empty where there is none, or no way to it."""
    import json

    match = _HF.fullmatch(address)
    if match is None:
        return {}
    try:
        path = _hub_file(match[1], "config.json", match[2], "", needed=False)
        found = json.loads(path.read_text(encoding="utf-8")) if path else {}
        return found if isinstance(found, dict) else {}
    except (SetupError, UsageError, ValueError):
        return {}


def _hub_file(repository: str, file: str, revision: str | None, checksum: str, *, needed: bool) -> Path | None:
    """A file of the hub, whole. A damaged copy in the cache is fetched again, once."""

    def download(again: bool) -> Path:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repository, file, revision=revision, force_download=again))

    where = f"hf:{repository}{f'@{revision}' if revision else ''}/{file}"
    path = _asked(download, False, where, needed)
    if path is None or (problem := _damage(path, checksum)) is None:
        return path
    fresh = _asked(download, True, where, True)
    if fresh is None or (problem := _damage(fresh, checksum)) is not None:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise SetupError(f"{where} was fetched twice and {problem}. It was thrown away; try again later.")
    return fresh


def _asked(download: Callable[[bool], Path], again: bool, where: str, needed: bool) -> Path | None:
    """What the hub's client returns, or None for a file that may be absent; its errors as ours."""
    from huggingface_hub import errors

    try:
        return download(again)
    except errors.LocalEntryNotFoundError as error:  # not on the hub's answer, but for want of one
        raise _unreachable(where, again, error) from error
    except errors.EntryNotFoundError as error:
        if not needed:
            return None
        raise UsageError(f"There is no file of that name on the hub: {where}. {_see(where)}") from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(f"There is no such revision on the hub: {where}. {_see(where)}") from error
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise SetupError(
            f"The hub does not show {where}: the name is wrong, or it takes a login. {_see(where)} "
            "Where its page asks for terms, accept them; then log in with: hf auth login"
        ) from error
    except errors.HFValidationError as error:
        raise UsageError(f"'{where}' is no hub name: {error}") from error
    except Exception as error:  # the client has its own and its HTTP library's; the remedy is the same for all
        raise _unreachable(where, again, error) from error


def _unreachable(where: str, again: bool, error: Exception) -> SetupError:
    from huggingface_hub import constants

    file = where.rpartition("/")[2]
    because = " again, for the copy in the cache is damaged" if again else ""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _first_line(error.__cause__ or error)
    return SetupError(
        f"Could not fetch {where}{because} ({why}). On a machine with network download {_page(where)} and pass that "
        f"file: --pretrained {file}; to predict and eval MODEL@{file}"
    )


def _damage(path: Path, checksum: str) -> str | None:
    """What is wrong with a file of the hub's cache, or None. Its name there is the checksum that the hub gave."""
    stated = path.readlink().name if path.is_symlink() else ""
    if re.fullmatch(r"[0-9a-f]{64}", stated) and (got := sha256_of(path)) != stated:
        return f"has the checksum {got[:16]}..., where the hub says {stated[:16]}..."
    if re.fullmatch(r"[0-9a-f]{40}", stated) and _git_sha1(path) != stated:
        return "is not what the hub's checksum says"
    if checksum and not (got := sha256_of(path)).startswith(checksum):
        return f"has the checksum {got[:16]}..., and the release is {checksum[:16]}..."
    return None


def _git_sha1(path: Path) -> str:
    """Checksum of a small file, which the hub keeps in git itself."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _listing(repository: str, revision: str | None) -> list[str]:
    from huggingface_hub import HfApi

    try:
        files = HfApi().list_repo_files(repository, revision=revision)
    except Exception:  # a hint only
        return []
    return [f for f in files if f.endswith((".safetensors", ".bin", ".pth", ".pt", ".pyth", ".msgpack", ".ckpt"))][:8]


def _page(where: str) -> str:
    from huggingface_hub import constants

    repository, revision, file = _HF.fullmatch(where).groups()  # type: ignore[union-attr]
    return f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/{file}"


def _see(where: str) -> str:
    return f"See {_page(where).partition('/resolve/')[0]}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")


def _looks_like_a_name(source: str) -> bool:
    """A word without a folder or suffix, and no file here: meant as a release."""
    return not re.search(r"[/\\.]", source) and not Path(source).exists() and not Path(f"{source}.index").exists()
