"""CRC-32C (Castagnoli), many bytes at a time with numpy; neither Python nor numpy has it."""

from __future__ import annotations

import numpy as np

_POLYNOMIAL = 0x82F63B78
"""Bits in reversed order, as in RFC 3720, appendix B.4."""
_ONE_LANE = 64
"""Bytes up to which one lane is faster than many."""


def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


_TABLE = _table()
_PLAIN = _TABLE.tolist()


def crc32c(data: bytes | memoryview) -> int:
    """The checksum of bytes."""
    state, done = 0xFFFFFFFF, 0
    if len(data) > _ONE_LANE:
        width = int((len(data) / 4) ** 0.5) * 2
        lanes = len(data) // width
        state, done = (
            _in_lanes(np.frombuffer(data, np.uint8, lanes * width).reshape(lanes, width), state),
            lanes * width,
        )
    for byte in data[done:]:
        state = _PLAIN[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """How LevelDB and TensorFlow write a checksum beside the bytes that it is of."""
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _in_lanes(data: np.ndarray, state: int) -> int:
    """The register after all rows.

    It is linear over GF(2): each row is run from 0 by itself, all at once, and 32 more rows of zeros run from each
    bit, which tells what a row's length makes of the register before it.
    """
    lanes, width = data.shape
    columns = np.zeros((width, lanes + 32), np.uint32)
    columns[:, :lanes] = data.T
    register = np.zeros(lanes + 32, np.uint32)
    register[lanes:] = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for column in columns:
        register = _TABLE[(register ^ column) & 0xFF] ^ (register >> 8)
    bits = register[lanes:].tolist()
    for row in register[:lanes].tolist():
        moved = 0
        for bit in range(32):
            moved ^= bits[bit] if state >> bit & 1 else 0
        state = moved ^ row
    return state
