"""Messages between processes: dataclasses as JSON in ASCII, so that file names that are not UTF-8 pass as they are."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def encode(message: Any) -> bytes:
    """A dataclass or msgspec structure as bytes."""
    return json.dumps(msgspec.to_builtins(message)).encode()


def decode(message: bytes, kind: type[T]) -> T:
    """The message again, its fields checked against ``kind``."""
    return msgspec.convert(json.loads(message), kind)
