"""Weights by name from a file of any kind: told by its first bytes, not by what it is called."""

from __future__ import annotations

import difflib
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kinelite.errors import UsageError
from kinelite.models.checkpoints.torch_files import LEGACY, read_torch, without_wrappers

SUFFIXES = (
    ".safetensors",
    ".pth",
    ".pth.tar",
    ".pyth",
    ".pt",
    ".bin",
    ".ckpt",
    ".msgpack",
    ".index",
    ".tar.gz",
    ".tgz",
)
KINDS = "safetensors, torch (.pth, .pyth, .pt, .bin, .ckpt), TensorFlow checkpoints (.index, .tar.gz), Flax msgpack"
PICKLED = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
"""What a pickle begins with."""
_PICKLE = (
    "{path} is a plain pickle. To read it would be to run what its maker wrote into it. Where you trust them, convert "
    'it once: python -c "import numpy, pathlib, pickle, torch; '
    "w = pickle.loads(pathlib.Path('{path}').read_bytes(), encoding='latin1'); "
    "w = w.get('blobs', w); torch.save({{k: torch.from_numpy(v) for k, v in w.items() "
    "if isinstance(v, numpy.ndarray)}}, '{stem}.pth')\""
)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by the names that its authors chose, on the CPU.

    Safetensors; torch files, through ``weights_only`` alone; TensorFlow checkpoints, by prefix, ``.index`` file or as a
    ``.tar.gz`` of one; Flax msgpack. A state dict within a training checkpoint is found, wrappers' ``module.`` goes.

    Raises:
        UsageError: no such file, a folder, an empty or cut-off file, a pickle that holds more than tensors, a web page
            saved under a file's name, or a format that is none of these. Nothing in a file is ever run.
    """
    if _tensorflow_prefix(path):
        return _tensorflow(path)
    head = _first_bytes(path)
    try:
        return without_wrappers(_reader(path, head)(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error


def _reader(path: Path, head: bytes) -> Callable[[Path], dict[str, Tensor]]:
    """What reads a file that begins with ``head``. Raises UsageError for a format that nothing here reads."""
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40:
        return _safetensors
    if head.startswith(b"PK\x03\x04") or LEGACY in head[:40]:
        return read_torch
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        return _tar
    _refuse_known(path, head)
    if head[0] in range(0x81, 0x90) or head[0] in (0xDE, 0xDF):
        return _flax
    if path.suffix == ".safetensors":
        return _safetensors
    raise UsageError(f"{path} is no weight file that can be read here. Known: {KINDS}.")


def _refuse_known(path: Path, head: bytes) -> None:
    text = head.lstrip().lower()
    if head[:2] in PICKLED or path.suffix in (".pkl", ".pickle"):
        raise UsageError(_PICKLE.format(path=path, stem=path.stem))
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<error")):
        raise UsageError(
            f"{path} is a web page, not weights: the server answered the download with a page. Look at it with a "
            "browser (a login, a notice, an error), and download the file again."
        )
    if text.startswith(b"version https://git-lfs"):
        raise UsageError(
            f"{path} is a Git LFS pointer, not the file that it stands for. In its repository: git lfs pull"
        )
    if head.startswith(b"\x89HDF"):
        raise UsageError(
            f"{path} is a Keras HDF5 file. Give the TensorFlow checkpoint (.index and .data files) instead."
        )


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.name.endswith(SUFFIXES))
        hint = f" It holds {', '.join(inside[:5])}." if inside else ""
        raise UsageError(f"{path} is a folder. Name a file in it.{hint}")
    if not path.is_file():
        raise _absent(path)
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise UsageError(f"{path} is empty. Copy or download it again.")
    return head


def _absent(path: Path) -> UsageError:
    there = [p.name for p in path.parent.iterdir() if p.name.endswith(SUFFIXES)] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=3, cutoff=0.3) or there[:3]
    hint = f" In that folder: {', '.join(near)}." if near else ""
    return UsageError(f"There is no weight file {path}.{hint}")


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path} is not a whole safetensors file ({error}). Copy or download it again.") from error


def _flax(path: Path) -> dict[str, Tensor]:
    from kinelite.models.checkpoints.flax import read_flax

    return read_flax(path)


def _tensorflow_prefix(path: Path) -> bool:
    """Whether a path is one of the names of a TensorFlow checkpoint: its prefix, or its .index or .data file."""
    shards = path.suffix == ".index" or ".data-" in path.name
    return shards or (not path.exists() and path.with_name(f"{path.name}.index").is_file())


def _tensorflow(path: Path) -> dict[str, Tensor]:
    from kinelite.models.checkpoints.tensorflow import prefix_and_index, read_tensorflow

    prefix, index = prefix_and_index(path)
    if not index.is_file():
        raise _absent(index)
    return read_tensorflow(prefix)


def _tar(path: Path) -> dict[str, Tensor]:
    """The only checkpoint in an archive: a TensorFlow one, or one file of another kind."""
    try:
        with tarfile.open(path) as archive, tempfile.TemporaryDirectory() as folder:
            return read_checkpoint(_unpack(path, archive, Path(folder)))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} is not a whole archive ({error}). Copy or download it again.") from error


def _unpack(path: Path, archive: tarfile.TarFile, folder: Path) -> Path:
    """Copy the members of one checkpoint into ``folder``, under their last names: no path of the archive is used."""
    files = [member for member in archive.getmembers() if member.isfile()]
    names = {member.name: PurePosixPath(member.name).name for member in files}
    starts = [name for name in names if name.endswith(".index")] or [
        name for name in names if name.endswith(SUFFIXES) and ".data-" not in name
    ]
    if len(starts) != 1:
        held = ", ".join(sorted(starts or names)[:8]) or "nothing"
        raise UsageError(f"{path} should hold one checkpoint and holds {held}. Unpack it and name the file.")
    start = starts[0]
    for member in files:
        if member.name == start or member.name.startswith(f"{start.removesuffix('.index')}.data-"):
            with (folder / names[member.name]).open("wb") as target:
                shutil.copyfileobj(cast(IO[bytes], archive.extractfile(member)), target)
    return folder / names[start]
