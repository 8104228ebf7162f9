"""TensorFlow checkpoints, read without TensorFlow.

The files under tests/reference/tensorflow were written by TensorFlow 2.21: ``objects`` by tf.train.Checkpoint (every
type, an empty tensor, one of 5000 bytes, 40 scalars), ``shards`` by MergeV2Checkpoints of two SaveV2, ``sliced`` and
``complex`` by SaveV2. ``values.npz`` holds what ``objects`` was given, bfloat16 as float32.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from kinelite.errors import UsageError
from kinelite.models.checkpoints.crc32c import crc32c, masked
from kinelite.models.checkpoints.tensorflow import read_tensorflow

MADE = Path(__file__).resolve().parents[1] / "reference" / "tensorflow"


def copied(name: str, to: Path) -> Path:
    for file in MADE.glob(f"{name}.*"):
        shutil.copyfile(file, to / file.name)
    return to / name


def test_every_type_and_shape_is_what_tensorflow_wrote() -> None:
    read = read_tensorflow(MADE / "objects")
    with np.load(MADE / "values.npz") as values:
        for name in values.files:
            found = read.pop(f"model/{name}/.ATTRIBUTES/VARIABLE_VALUE")
            if name == "brain":
                assert found.dtype == torch.bfloat16
                found = found.float()
            assert found.numpy().dtype == values[name].dtype
            np.testing.assert_array_equal(found.numpy(), values[name])
    assert [read[f"model/many_{i:02d}/.ATTRIBUTES/VARIABLE_VALUE"].item() for i in range(40)] == list(range(40))
    assert len(read) == 40, "the object graph, which is a string, is left out"


@pytest.mark.parametrize("name", ["shards", "shards.index", "shards.data-00001-of-00002"])
def test_shards_by_each_name(name: str) -> None:
    read = read_tensorflow(str(MADE / name))
    assert list(read) == ["first/kernel:0", "second/bias"]
    assert read["first/kernel:0"].shape == (4, 5)
    assert read["second/bias"].tolist() == [1, 2, 3]


def test_words_of_a_data_file_in_the_name_of_a_folder(tmp_path: Path) -> None:
    (folder := tmp_path / "kinetics.data-v2.index").mkdir()
    copied("shards", folder)
    for name in ("shards", "shards.index", "shards.data-00000-of-00002"):
        assert list(read_tensorflow(folder / name)) == ["first/kernel:0", "second/bias"]


def test_tensors_can_be_changed_without_the_file() -> None:
    read = read_tensorflow(MADE / "shards")
    read["second/bias"] += 1
    assert read_tensorflow(MADE / "shards")["second/bias"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "said"), [("sliced", "w is stored in slices"), ("complex", "w has type 8"), ("absent", "cannot be read")]
)
def test_what_cannot_be_read_is_told(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_tensorflow(MADE / name)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    prefix = copied("shards", tmp_path)
    (tmp_path / "shards.data-00001-of-00002").unlink()
    with pytest.raises(UsageError, match=r"shards\.data-00001-of-00002 cannot be read"):
        read_tensorflow(prefix)


@pytest.mark.parametrize("length", [0, 20, 100, 1000, 2800, 2855])
def test_a_cut_off_index_is_told(length: int, tmp_path: Path) -> None:
    prefix = copied("objects", tmp_path)
    index = tmp_path / "objects.index"
    index.write_bytes(index.read_bytes()[:length])
    with pytest.raises(UsageError, match="no end mark"):
        read_tensorflow(prefix)


def test_a_cut_off_shard_is_told(tmp_path: Path) -> None:
    prefix = copied("objects", tmp_path)
    data = tmp_path / "objects.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-6000])
    with pytest.raises(UsageError, match="the data file ends before"):
        read_tensorflow(prefix)


@pytest.mark.parametrize("file", ["objects.index", "objects.data-00000-of-00001"])
def test_every_changed_byte_is_found(file: str, tmp_path: Path) -> None:
    """Of the index each third byte is tried but those of the footer's padding; of the data each 97th."""
    prefix = copied("objects", tmp_path)
    whole = (tmp_path / file).read_bytes()
    strings = read_tensorflow(prefix)
    places = range(0, len(whole) - 48, 3) if file.endswith("index") else range(0, len(whole), 97)
    silent = []
    for place in places:
        (tmp_path / file).write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            read = read_tensorflow(prefix)
        except UsageError:
            continue
        # Strings are not looked at, and the block of statistics before the footer is empty.
        if any(not torch.equal(read[key], strings[key]) for key in strings) or read.keys() != strings.keys():
            silent.append(place)
    assert silent == []


def varint(number: int) -> bytes:
    sevens = range(0, max(number.bit_length(), 1), 7)
    return bytes(number >> at & 0x7F | 0x80 for at in sevens[:-1]) + bytes([number >> sevens[-1]])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A LevelDB block with a right checksum."""
    content = b"".join(b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    content += bytes(4) + (1).to_bytes(4, "little") + b"\0"
    return content + masked(crc32c(content)).to_bytes(4, "little")


def written(to: Path, key: bytes, sizes: list[int], *, shards: int = 1) -> Path:
    """A checkpoint of one empty float tensor whose checksums are right, whatever it says."""
    shape = b"".join(field(2, field(1, size)) for size in sizes)
    crc = varint(6 << 3 | 5) + masked(crc32c(b"")).to_bytes(4, "little")
    data = block([(b"", field(1, shards)), (key, field(1, 1) + field(2, shape) + crc)])
    table = block([(key, varint(0) + varint(len(data) - 5))])
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(table) - 5)
    magic = 0xDB4775248B80FB57.to_bytes(8, "little")
    (to / "made.index").write_bytes(data + table + footer.ljust(40, b"\0") + magic)
    (to / "made.data-00000-of-00001").write_bytes(b"")
    return to / "made"


def test_a_checkpoint_written_here_is_read(tmp_path: Path) -> None:
    assert read_tensorflow(written(tmp_path, b"w", [0, 3]))["w"].shape == (0, 3)


@pytest.mark.parametrize(
    ("key", "sizes", "shards"),
    [
        (b"\xff", [0], 1),
        (b"w", [2**64 - 1], 1),
        (b"w", [2**32, 2**32], 1),
        (b"w", [0, 2**70], 1),
        (b"w", [0], 2**20_000),
    ],
    ids=["no text", "below zero", "product wraps", "beyond 64 bits", "shards"],
)
def test_nonsense_with_right_checksums_is_told(key: bytes, sizes: list[int], shards: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a whole TensorFlow checkpoint"):
        read_tensorflow(written(tmp_path, key, sizes, shards=shards))


def test_checksums_of_known_bytes() -> None:
    """RFC 3720, appendix B.4, and the usual check value; lengths around those at which lanes begin."""
    assert crc32c(b"") == 0
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    data = np.random.default_rng(0).bytes(3000)
    for length in (63, 64, 65, 66, 127, 128, 129, 2999, 3000):
        register = 0xFFFFFFFF
        for byte in data[:length]:
            register ^= byte
            for _ in range(8):
                register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
        assert crc32c(data[:length]) == register ^ 0xFFFFFFFF
