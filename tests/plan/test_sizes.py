"""Amounts of memory as people write them."""

from __future__ import annotations

import pytest

from kinelite.errors import UsageError
from kinelite.plan.sizes import gib, parse_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12GiB", 12 * 2**30),
        ("12 GiB", 12 * 2**30),
        ("12gb", 12_000_000_000),
        ("12000MiB", 12000 * 2**20),
        ("1.5GiB", 3 * 2**29),
        (".5TB", 500_000_000_000),
        ("1024B", 1024),
    ],
)
def test_units(text: str, expected: int) -> None:
    assert parse_bytes(text, "--gpu-memory") == expected


@pytest.mark.parametrize("text", ["", "GiB", "0GiB", "-1GiB", "12 apples", "1e3GiB", "12GiBs", "nan GiB"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(UsageError, match=r"--gpu-memory .*12GiB, 12GB or 12000MiB"):
        parse_bytes(text, "--gpu-memory")


def test_a_bare_number_could_be_either() -> None:
    with pytest.raises(UsageError, match="such as 24GiB"):
        parse_bytes("24", "--gpu-memory")


def test_gib() -> None:
    assert gib(3 * 2**29) == 1.5
