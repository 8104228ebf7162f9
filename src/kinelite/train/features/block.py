"""One file of stored features: a block of clips as safetensors, written whole or not at all."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt32
from safetensors.torch import save
from torch import Tensor

from kinelite.errors import DataError
from kinelite.records import replace_bytes

_CODES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
_LARGEST_HEADER = 2**26


@dataclass(frozen=True)
class Block:
    """What the header of a block says."""

    offset: int
    """Where the features begin in the file, in bytes."""
    crc32: UInt32[np.ndarray, "clips views"]
    problems: dict[int, str]
    """Place in the block -> why the clip could not be decoded."""


def block_name(number: int) -> str:
    """File name of a block."""
    return f"block-{number:06d}.safetensors"


def write_block(path: Path, features: Float[Tensor, "clips views m d"], problems: Mapping[int, str], name: str) -> None:
    """Write a block atomically and durably. ``name`` says which block of which store it is.

    The same features give the same bytes. Raises SetupError when the disk is full or cannot be written.
    """
    clips, views = features.shape[:2]
    features = features.contiguous()
    raw = features.view(torch.uint8).numpy().reshape(clips, views, -1)
    checks = [[zlib.crc32(raw[clip, view]) for view in range(views)] for clip in range(clips)]
    text = json.dumps({"block": name, "problems": {str(k): problems[k] for k in sorted(problems)}})
    # One entry alone: safetensors writes several in another order each time.
    metadata = {"kinelite": f"{zlib.crc32(text.encode()):08x} {text}"}
    content = save({"features": features, "crc32": torch.from_numpy(np.array(checks, np.uint32))}, metadata)
    replace_bytes(path, content)


def open_block(path: Path, shape: tuple[int, int, int, int], dtype: torch.dtype, name: str) -> Block:
    """The header of a block. Raises DataError when the file is missing, damaged, or another block than ``name``."""
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            length = struct.unpack("<Q", file.read(8))[0]
            if length > min(size, _LARGEST_HEADER):
                raise ValueError("its header is longer than the file")
            header: dict[str, Any] = json.loads(file.read(length))
            facts = _facts(header["__metadata__"], name)
            begin, end = _place(header, "features", _CODES[dtype], shape)
            checks_begin, checks_end = _place(header, "crc32", "U32", shape[:2])
            if 8 + length + max(end, checks_end) != size:
                raise ValueError("it is cut short or too long")
            file.seek(8 + length + checks_begin)
            checks = np.frombuffer(file.read(checks_end - checks_begin), "<u4").reshape(shape[:2])
    except (OSError, ValueError, LookupError, TypeError, struct.error) as error:
        raise DataError(
            f"'{path}' is missing or damaged ({error}). Delete what is damaged with: kinelite features check "
            f"{path.parent} --mend; the command that made it then makes it again."
        ) from error
    return Block(8 + length + begin, checks.astype(np.uint32), facts)


def _facts(metadata: dict[str, str], name: str) -> dict[int, str]:
    check, _, text = metadata["kinelite"].partition(" ")
    if zlib.crc32(text.encode()) != int(check, 16):
        raise ValueError("its header is not what was written")
    found = json.loads(text)
    if found["block"] != name:
        raise ValueError(f"it is block {found['block']}, and {name} belongs here")
    return {int(place): str(reason) for place, reason in found["problems"].items()}


def _place(header: dict[str, Any], name: str, code: str, shape: tuple[int, ...]) -> tuple[int, int]:
    entry = header[name]
    if entry["dtype"] != code or tuple(entry["shape"]) != shape:
        raise ValueError(f"{name} is {entry['dtype']} {entry['shape']} instead of {code} {list(shape)}")
    begin, end = entry["data_offsets"]
    return int(begin), int(end)
