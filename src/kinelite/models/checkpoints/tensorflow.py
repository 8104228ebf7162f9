"""TensorFlow checkpoints without TensorFlow: an index, which is a LevelDB table of protocol buffers, and data shards.

Formats: tensorflow/core/util/tensor_bundle, tensorflow/core/protobuf/tensor_bundle.proto and LevelDB's table_format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from kinelite.errors import UsageError
from kinelite.models.checkpoints.crc32c import crc32c, masked

_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER = 48
_HEADER = b""
"""The key of what is said of all tensors: the number of shards, and the order of bytes."""
_STRING = 7
_DTYPES = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    4: torch.uint8,
    5: torch.int16,
    6: torch.int8,
    9: torch.int64,
    10: torch.bool,
    14: torch.bfloat16,
    17: torch.uint16,
    19: torch.float16,
    22: torch.uint32,
    23: torch.uint64,
}
"""By number in tensorflow/core/framework/types.proto."""

Message = dict[int, list[int | bytes]]
"""Fields of a protocol buffer by number; each may be repeated."""


class _Damaged(Exception):
    """What is wrong with the file, as the end of a sentence."""


def read_tensorflow(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their keys; strings, such as the object graph, are left out.

    Args:
        path: prefix of the checkpoint, its ``.index`` file or one of its data files.

    Raises:
        UsageError: a file is missing, cut off or damaged (checksums are compared), is compressed, holds a tensor in
            slices or of a type that PyTorch lacks.
    """
    prefix, index = prefix_and_index(Path(path))
    try:
        entries = {key: _fields(value) for key, value in _table(_content(index))}
        shards = _shards(prefix, entries.pop(_HEADER, {}))
        # Keys of slices begin with a zero byte; the tensor that they are of is refused.
        named = {key.decode(): entry for key, entry in entries.items() if not key.startswith(b"\0")}
        return {key: _tensor(entry, shards, key) for key, entry in named.items() if _number(entry, 1) != _STRING}
    # The last three: checksums are right, but names, shapes or numbers cannot be.
    except (_Damaged, ValueError, TypeError, RuntimeError) as error:
        raise UsageError(f"{path} is not a whole TensorFlow checkpoint: {error}.") from error


def prefix_and_index(path: Path) -> tuple[Path, Path]:
    """The prefix of a checkpoint, and its ``.index`` file, from any of its names: those, or one of its data files."""
    prefix = path.with_name(path.name.removesuffix(".index").partition(".data-")[0])
    return prefix, prefix.with_name(f"{prefix.name}.index")


def _shards(prefix: Path, header: Message) -> list[bytes]:
    if _number(header, 2):
        raise _Damaged("it is of a big-endian machine")
    count = _number(header, 1)
    if not count:
        raise _Damaged(f"{prefix.name}.index does not say how many data files there are")
    return [_content(prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{count:05d}")) for i in range(count)]


def _tensor(entry: Message, shards: list[bytes], key: str) -> Tensor:
    """One tensor, copied out of its shard."""
    number, shard, offset, size = (_number(entry, field) for field in (1, 3, 4, 5))
    if 7 in entry:
        raise _Damaged(f"{key} is stored in slices, as of a model spread over machines; save it in one piece")
    if number not in _DTYPES:
        raise _Damaged(f"{key} has type {number} of TensorFlow's types.proto, which cannot be read")
    sizes = [_number(_fields(_bytes(dim)), 1) for dim in _fields(_bytes(entry.get(2, [b""])[0])).get(2, [])]
    if shard >= len(shards) or offset + size > len(shards[shard]):
        raise _Damaged(f"the data file ends before {key}; copy or download it again")
    data = memoryview(shards[shard])[offset : offset + size]
    if masked(crc32c(data)) != int.from_bytes(_bytes(entry.get(6, [b""])[0]), "little"):
        raise _Damaged(f"the checksum of {key} is not that of its data; copy or download it again")
    dtype = _DTYPES[number]
    if size != dtype.itemsize * math.prod(sizes):
        raise _Damaged(f"{key} has {size} bytes, which are not those of its shape")
    flat = torch.frombuffer(bytearray(data), dtype=dtype) if size else torch.empty(0, dtype=dtype)
    return flat.reshape(sizes)


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a LevelDB table: footer, index of blocks, blocks."""
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or not footer.endswith(_MAGIC):
        raise _Damaged("the index has no end mark; copy or download it again")
    _, _, index_offset, index_size = _numbers(footer, 4)
    for _, handle in _block(data, index_offset, index_size):
        offset, size = _numbers(handle, 2)
        yield from _block(data, offset, size)


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries of a block. Each key is written as what differs from the key before it."""
    content, trailer = data[offset : offset + size + 1], data[offset + size + 1 : offset + size + 5]
    if len(trailer) < 4 or masked(crc32c(content)) != int.from_bytes(trailer, "little"):
        raise _Damaged("the index is cut off or damaged; copy or download it again")
    if content[-1]:
        raise _Damaged("its index is compressed, which TensorFlow's own never is")
    restarts = int.from_bytes(content[-5:-1], "little")
    at, end, key = 0, size - 4 * (restarts + 1), b""
    while at < end:
        shared, at = _varint(content, at)
        added, at = _varint(content, at)
        length, at = _varint(content, at)
        key, at = key[:shared] + content[at : at + added], at + added
        yield key, content[at : at + length]
        at += length


def _fields(data: bytes) -> Message:
    """A protocol buffer message. Only the wire types that tensor_bundle.proto uses occur."""
    found: Message = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (2, 5):
            length, at = _varint(data, at) if kind == 2 else (4, at)
            value, at = data[at : at + length], at + length
        else:
            raise _Damaged("its index holds something else than a table of tensors")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits per byte, the lowest first, and where it ends."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    raise _Damaged("its index is cut off")


def _numbers(data: bytes, count: int) -> list[int]:
    found, at = [], 0
    for _ in range(count):
        value, at = _varint(data, at)
        found.append(value)
    return found


def _number(message: Message, field: int) -> int:
    value = message.get(field, [0])[0]
    return value if isinstance(value, int) else 0


def _bytes(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _Damaged(f"{path.name} cannot be read ({error.strerror})") from error
