"""Width and height of an image from its header, so that nothing is decoded to learn them."""

from __future__ import annotations

import struct

_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def size_of(content: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a JPEG (ITU-T T.81, B.2.2) or PNG; None for anything else or a damaged header."""
    if content[:2] == b"\xff\xd8":
        return _jpeg(content)
    if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
        return _positive(*struct.unpack(">II", content[16:24]))
    return None


def _jpeg(content: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return _positive(width, height)
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _NO_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def _positive(width: int, height: int) -> tuple[int, int] | None:
    return (width, height) if width and height else None
