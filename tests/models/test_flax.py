"""Flax checkpoints against what Flax itself wrote.

``flax/checkpoint_123`` was written by ``flax.serialization.msgpack_serialize`` of Flax 0.12.8, its chunk size lowered
from 1 GiB to 64 bytes, from a tree with the names of Scenic's train state and one leaf of each kind.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec
import pytest
import torch

from kinelite.errors import UsageError
from kinelite.models.checkpoints.files import read_checkpoint
from kinelite.models.checkpoints.flax import read_flax

WRITTEN = Path(__file__).resolve().parents[1] / "reference" / "flax" / "checkpoint_123"


def test_every_kind_of_leaf() -> None:
    given = read_flax(WRITTEN)
    six = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    expected = {
        "optimizer/target/Dense_0/kernel": six,
        "optimizer/target/Dense_0/bias": torch.tensor([1.5, -2, 0.25], dtype=torch.bfloat16),
        "optimizer/target/big": torch.arange(40, dtype=torch.float32).reshape(5, 8) / 2,
        "optimizer/target/half": torch.tensor([[0.5, 1.25]], dtype=torch.float16),
        "optimizer/target/fortran": six,
        "global_step": torch.tensor(123),
        "rng": torch.tensor([0, 42], dtype=torch.uint32),
        "flag": torch.tensor(True),
        "number": torch.tensor(3),
        "rate": torch.tensor(0.125),
        "point": torch.tensor(1 + 2j),
        "complex": torch.tensor([1 + 1j], dtype=torch.complex64),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "several/0": torch.zeros(2, dtype=torch.int8),
        "several/1": torch.ones(2, dtype=torch.bool),
    }
    assert sorted(given) == sorted(expected)
    for name, tensor in expected.items():
        assert given[name].dtype == tensor.dtype, name
        assert torch.equal(given[name], tensor), name


def test_tensors_are_their_own(tmp_path: Path) -> None:
    """They may be written to, and outlive the file."""
    copy = Path(shutil.copy(WRITTEN, tmp_path / "weights.msgpack"))
    given = read_flax(copy)["optimizer/target/Dense_0/kernel"]
    copy.unlink()
    given += 1
    assert given.sum() == 21


def test_any_checkpoint_reader_knows_them() -> None:
    assert read_checkpoint(WRITTEN).keys() == read_flax(WRITTEN).keys()


def test_of_a_folder_the_latest_number_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file of it is called checkpoint_ and a number"):
        read_flax(tmp_path)
    shutil.copy(WRITTEN, tmp_path / "checkpoint_100")
    assert "rate" in read_flax(tmp_path)
    (tmp_path / "checkpoint_20").write_bytes(b"older")
    (tmp_path / "checkpoint_tmp").write_bytes(b"half written")
    with pytest.warns(UserWarning, match="2 checkpoints; checkpoint_100 is read"):
        assert "rate" in read_flax(tmp_path)


def test_chunks_count_as_numbers(tmp_path: Path) -> None:
    """As words, '10' comes before '2'."""
    chunks = {str(i): array([1], "int8", bytes([i])) for i in (11, 10, *range(10))}
    tree = {"a": {"__msgpack_chunked_array__": True, "shape": {"0": 3, "1": 4}, "chunks": chunks}}
    (file := tmp_path / "weights.msgpack").write_bytes(msgspec.msgpack.encode(tree))
    assert read_flax(file)["a"].tolist() == torch.arange(12).reshape(3, 4).tolist()


@pytest.mark.parametrize("length", [0, 1, 30, 400, -1])
def test_cut_off_files_are_told(length: int, tmp_path: Path) -> None:
    (file := tmp_path / "checkpoint_5").write_bytes(WRITTEN.read_bytes()[:length])
    with pytest.raises(UsageError, match=r"not a whole Flax checkpoint.*again"):
        read_flax(file)


def array(shape: list[int], kind: str, content: bytes, code: int = 1) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, msgspec.msgpack.encode([shape, kind, content]))


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"a": array([3], "float32", b"\0" * 8)}, "a has 8 bytes for float32 of shape"),
        ({"a": array([-3], "float32", b"\0" * 12)}, "a has 12 bytes"),
        ({"a": array([1], "float8_e4m3fn", b"\0")}, "the type float8_e4m3fn"),
        ({"a": array([1], "float32", b"\0" * 4, code=9)}, "extension 9"),
        ({"a": {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {"0": 7}}}, "chunks of a are damaged"),
        ({"a": {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {}}}, "0 numbers"),
        ({"a": array([0, 2**62, 2**62], "float32", b"")}, "overflow"),
        ({"a": array([0, 2**64 - 1], "float32", b"")}, "not a whole"),
        ({"a": 2**64 - 1}, "not a whole"),
        (
            {"a": {"__msgpack_chunked_array__": True, "shape": 5, "chunks": {"0": array([1], "float32", b"\0" * 4)}}},
            "not iterable",
        ),
        (
            {
                "a": {
                    "__msgpack_chunked_array__": True,
                    "shape": {"0": -1, "1": -1},
                    "chunks": {"0": array([1], "float32", b"\0" * 4)},
                }
            },
            "not a whole",
        ),
        ({"a": {"b": None, "c": "words"}}, "no arrays"),
        ([1, 2], "no arrays"),
        (b"bytes", "no arrays"),
    ],
)
def test_what_flax_did_not_write_is_refused(tree: object, said: str, tmp_path: Path) -> None:
    (file := tmp_path / "weights.msgpack").write_bytes(msgspec.msgpack.encode(tree))
    with pytest.raises(UsageError) as error:
        read_flax(file)
    assert re.search(said, str(error.value))


def test_deep_nesting_is_an_error_and_no_crash(tmp_path: Path) -> None:
    (file := tmp_path / "weights.msgpack").write_bytes(b"\x81\xa1a" * 100_000 + b"\x01")
    with pytest.raises(UsageError):
        read_flax(file)
