"""Amounts of memory as people write them: 12GiB, 12GB, 12000MiB."""

from __future__ import annotations

import re

from kinelite.errors import UsageError

GIB = 2**30
_UNITS = (
    {"b": 1}
    | {f"{p}b": 1000**i for i, p in enumerate("kmgt", 1)}
    | {f"{p}ib": 1024**i for i, p in enumerate("kmgt", 1)}
)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_bytes(text: str, flag: str) -> int:
    """Bytes of '12GiB', '12 GB', '12000MiB', '8589934592B'. Raises UsageError naming ``flag`` for anything else.

    GiB is 2**30 bytes and GB 10**9. A bare number could be either, so it is refused.
    """
    found = _SIZE.fullmatch(text)
    unit = found.group(2).lower() if found else ""
    if not found or unit not in _UNITS or not float(found.group(1)) > 0:
        bare = f"{found.group(1)}GiB" if found and not unit else "12GiB"
        raise UsageError(f"{flag} {text}: give a number and a unit, such as {bare}, 12GB or 12000MiB.")
    return int(float(found.group(1)) * _UNITS[unit])


def gib(size_bytes: int | float) -> float:
    """GiB, to three digits behind the point."""
    return round(size_bytes / GIB, 3)
