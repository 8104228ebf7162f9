"""The order of display of MPEG-4 pictures in AVI, which stores no presentation times.

Where it is known beforehand, pictures that nothing else needs and nobody wants are not decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator

import numpy as np
from jaxtyping import Int64

_START = b"\0\0\1\xb6"
_INTRA, _BIDIRECTIONAL = 0, 2


def picture_types(packet: bytes) -> list[int]:
    """vop_coding_type of each picture in a packet: 0 I, 1 P, 2 B, 3 S (ISO/IEC 14496-2, 6.2.5)."""
    types = []
    at = packet.find(_START)
    while 0 <= at < len(packet) - len(_START):
        types.append(packet[at + len(_START)] >> 6)
        at = packet.find(_START, at + len(_START))
    return types


def places(packets: Iterable[bytes]) -> Int64[np.ndarray, " p"]:
    """Place in the order of display of the picture that each packet of a file makes the decoder decode; -1 for none.

    B-pictures are displayed when they are decoded, others when the next of the others is. DivX packs a picture and the
    B-picture after it into one packet; FFmpeg decodes the second one in place of the filler in the next packet.
    """
    order: list[int] = []
    shown, held = 0, -1
    for kind in _decoded(packets):
        order.append(-1)
        if kind == _BIDIRECTIONAL:
            order[-1], shown = shown, shown + 1
        elif kind is not None:
            if held >= 0:
                order[held], shown = shown, shown + 1
            held = len(order) - 1
    if held >= 0:
        order[held] = shown
    return np.array(order, dtype=np.int64)


def _decoded(packets: Iterable[bytes]) -> Iterator[int | None]:
    packed: int | None = None
    for packet in packets:
        types = picture_types(packet)
        kind = packed if packed is not None else types.pop(0) if types else None
        packed = types[0] if types and types[0] in (_INTRA, _BIDIRECTIONAL) else None
        yield kind


def droppable(order: Int64[np.ndarray, " p"]) -> list[bool]:
    """Which packets give a picture that is displayed before one that was decoded earlier: the B-pictures."""
    highest = np.maximum.accumulate(order)
    return ((order >= 0) & (order < highest)).tolist()


class LineUp:
    """Which pictures come out of the decoder when B-pictures that nobody wants are skipped, and in which order."""

    def __init__(self, order: Int64[np.ndarray, " p"], wanted: Container[int], decoded: int) -> None:
        """``wanted``: places that are needed. ``decoded``: how many packets were decoded before skipping begins."""
        places, is_b = order.tolist(), droppable(order)
        self._needed = [not b or place in wanted for place, b in zip(places, is_b, strict=True)]
        # Of two B-pictures in a row FFmpeg unpacks the second one while it decodes the first.
        for i in range(len(places) - 2, -1, -1):
            self._needed[i] = self._needed[i] or (is_b[i + 1] and self._needed[i + 1])
        kept = (i for i, place in enumerate(places) if place >= 0 and (i < decoded or self._needed[i]))
        self._expected = deque(sorted((places[i], is_b[i]) for i in kept))
        self._packet = decoded

    def needed(self) -> bool:
        """Whether the next packet's picture is to be decoded even if no other picture needs it."""
        self._packet += 1
        return self._packet > len(self._needed) or self._needed[self._packet - 1]

    def place(self, is_b: bool) -> int | None:
        """The place of the picture that came out; None when another type of picture was due, or none at all."""
        place, b_is_due = self._expected.popleft() if self._expected else (-1, not is_b)
        return place if b_is_due == is_b else None

    @property
    def complete(self) -> bool:
        """Whether all pictures that were due have come out."""
        return not self._expected
