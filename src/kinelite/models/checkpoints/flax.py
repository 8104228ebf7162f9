"""Flax checkpoints read without Flax: msgpack, as `flax.serialization` and `flax.training.checkpoints` write it.

A tree of dicts whose leaves are arrays: extension 1 holds shape, name of the type and bytes of an array, extension 3
those of a single number, extension 2 a complex number; arrays above 1 GiB are dicts of flat chunks.
"""

from __future__ import annotations

import math
import mmap
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from kinelite.errors import UsageError

TYPES = {
    "bool": torch.bool,
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "uint32": torch.uint32,
    "uint64": torch.uint64,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}
OPTIMISER = re.compile(r"^(optimizer/state|opt_state)(/|$)")
"""Momentum and its like, as large as the weights: not read."""
_CHUNKED = "__msgpack_chunked_array__"


def read_flax(path: Path | str) -> dict[str, Tensor]:
    """The arrays and numbers of a checkpoint on the CPU, by the words on the way to each, joined with '/'.

    A folder stands for the file ``checkpoint_N`` in it with the largest N; a warning says which. The state of the
    optimiser, text and empty places are left out.

    Raises UsageError for a file that is cut off or is none of Flax's, and for a folder without such files.
    """
    path = _latest(Path(path)) if Path(path).is_dir() else Path(path)
    try:
        with path.open("rb") as file:
            # Not closed by hand: the arrays are windows into it, and it goes with the last of them.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        tree = msgspec.msgpack.decode(content, ext_hook=_extension)
        leaves = _leaves(tree if isinstance(tree, dict) else {}, "")
        tensors = {name: _tensor(leaf, name) for name, leaf in leaves if not OPTIMISER.match(name)}
    # The last two are of places and shapes that no array can have.
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError, RuntimeError) as error:
        raise UsageError(f"{path} is not a whole Flax checkpoint: {error}. Copy or download it again.") from error
    if not tensors:
        raise UsageError(f"{path} holds no arrays by name, so it is no Flax checkpoint.")
    return tensors


@dataclass(frozen=True)
class _Array:
    """An array that stays in the file until it is wanted."""

    shape: tuple[int, ...]
    type: str
    content: memoryview


def _latest(folder: Path) -> Path:
    numbered = {int(p.name.rpartition("_")[2]): p for p in folder.glob("checkpoint_*") if p.name[11:].isdigit()}
    if not numbered:
        raise UsageError(f"{folder} holds no Flax checkpoint: no file of it is called checkpoint_ and a number.")
    latest = numbered[max(numbered)]
    if len(numbered) > 1:
        warnings.warn(f"{folder} holds {len(numbered)} checkpoints; {latest.name} is read.", stacklevel=3)
    return latest


def _extension(code: int, data: memoryview) -> Any:
    if code in (1, 3):
        shape, kind, content = msgspec.msgpack.decode(data, type=tuple[tuple[int, ...], str, memoryview])
        return _Array(shape, kind, content)
    if code == 2:
        return complex(*msgspec.msgpack.decode(data, type=tuple[float, float]))
    raise ValueError(f"extension {code} is none of Flax's")


def _leaves(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and _CHUNKED not in node:
        for word, child in node.items():
            yield from _leaves(child, f"{name}/{word}" if name else str(word))
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from _leaves(child, f"{name}/{number}" if name else str(number))
    elif isinstance(node, _Array | dict | bool | int | float | complex):
        yield name, node


def _tensor(leaf: Any, where: str) -> Tensor:
    if isinstance(leaf, _Array):
        return _filled(leaf, where)
    if not isinstance(leaf, dict):
        return torch.tensor(leaf)
    chunks, shape = _in_order(leaf.get("chunks")), _in_order(leaf.get("shape"))
    if not all(isinstance(chunk, _Array) for chunk in chunks) or not all(isinstance(n, int) for n in shape):
        raise ValueError(f"the chunks of {where} are damaged")
    flat = torch.cat([_filled(chunk, where) for chunk in chunks]) if chunks else torch.empty(0)
    if flat.numel() != math.prod(shape):
        raise ValueError(f"{where} has {flat.numel()} numbers for a shape of {tuple(shape)}")
    return flat.reshape(shape)


def _filled(array: _Array, where: str) -> Tensor:
    if array.type not in TYPES:
        raise ValueError(f"{where} has the type {array.type}, which PyTorch does not have")
    if min(array.shape, default=0) < 0 or math.prod(array.shape) * TYPES[array.type].itemsize != len(array.content):
        raise ValueError(f"{where} has {len(array.content)} bytes for {array.type} of shape {array.shape}")
    result = torch.empty(array.shape, dtype=TYPES[array.type])
    if result.numel():
        # Into our own memory: what maps the file would be read-only and gone with it.
        result.view(-1).view(torch.uint8).numpy()[:] = memoryview(array.content)
    return result


def _in_order(node: Any) -> list[Any]:
    """A tuple as Flax stores it: a dict from '0', '1', ..."""
    if isinstance(node, dict):
        return [node[key] for key in sorted(node, key=int)]
    return list(node or ())
