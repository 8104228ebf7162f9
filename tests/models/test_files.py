"""Checkpoint files of every kind: told by their content, unwrapped, refused in words; nothing in them is run."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import pickle
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.models.checkpoints import files
from kinelite.models.checkpoints.files import read_checkpoint

WEIGHTS = {"blocks.0.weight": torch.arange(6.0).reshape(2, 3), "blocks.0.bias": torch.arange(2)}
TENSORFLOW = "kinelite.models.checkpoints.tensorflow"
RAN: list[str] = []


class Runs:
    """Code that a pickle brings along."""

    def __reduce__(self) -> tuple[Any, ...]:
        return RAN.append, ("ran",)


class Own:
    """A class of the project that wrote a file."""

    value = 1


def equal(found: dict[str, Tensor], wanted: dict[str, Tensor] = WEIGHTS) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[k], wanted[k]) for k in wanted)


WRAPPED: dict[str, Any] = {
    "plain": WEIGHTS,
    "ordered": OrderedDict(WEIGHTS),
    "tsm": {"epoch": 5, "arch": "x", "state_dict": {f"module.{k}": v for k, v in WEIGHTS.items()}, "best_prec1": 7.0},
    "tensor beside": {"state_dict": WEIGHTS, "best_prec1": torch.tensor(71.2)},
    "slowfast": {"model_state": WEIGHTS, "optimizer_state": {"state": {0: {"m": torch.ones(2)}}}, "cfg": "A: 1\n"},
    "deit": {"model": WEIGHTS},
    "mae": {"model": WEIGHTS, "optimizer": {"state": {}, "param_groups": []}, "args": argparse.Namespace(lr=1.0)},
    "numpy score": {"state_dict": WEIGHTS, "best_acc": np.float64(0.7), "curve": np.zeros(3)},
    "average only": {"epoch": 1, "state_dict_ema": WEIGHTS},
    "both": {"ema": {k: v + 1 for k, v in WEIGHTS.items()}, "model": WEIGHTS},
    "deep": {"checkpoint": {"model_state": {f"_orig_mod.module.{k}": v for k, v in WEIGHTS.items()}}},
    "parameters": {k: nn.Parameter(v.float()) for k, v in WEIGHTS.items()},
    "counter in it": {**WEIGHTS, "epoch": 3},
}


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_torch_files(tmp_path: Path, name: str, zipped: bool) -> None:
    torch.save(WRAPPED[name], tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "w.pth")
    assert equal(found, {k: v.float() for k, v in WEIGHTS.items()} if name == "parameters" else WEIGHTS)
    assert not any(tensor.requires_grad for tensor in found.values())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_files_of_any_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save(WEIGHTS, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        if protocol < 4:
            assert equal(read_checkpoint(path))
        else:
            with pytest.raises(UsageError, match="pickle protocol above 3"):
                read_checkpoint(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin", ".pkl", ""])
def test_content_decides_not_the_name(tmp_path: Path, suffix: str) -> None:
    save_file(WEIGHTS, tmp_path / f"s{suffix}")
    torch.save(WEIGHTS, tmp_path / f"t{suffix}")
    assert equal(read_checkpoint(tmp_path / f"s{suffix}"))
    assert equal(read_checkpoint(tmp_path / f"t{suffix}"))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_class_in_a_torch_file_is_named_and_nothing_is_run(tmp_path: Path, zipped: bool) -> None:
    for name, extra in {"runs": Runs(), "own": Own(), "module": nn.Linear(2, 2)}.items():
        path = tmp_path / f"{name}.pth"
        torch.save({"state_dict": WEIGHTS, "extra": extra}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UsageError, match=r"(?s)more than tensors.*convert it once: python -c") as error:
            read_checkpoint(path)
        assert {"runs": "", "own": "Own", "module": "torch.nn.modules.linear.Linear"}[name] in str(error.value)
        assert str(path) in str(error.value)
    assert RAN == []


def test_the_line_that_converts_a_refused_file_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": WEIGHTS, "extra": nn.Linear(2, 2)}, "w.pth")
    Path("caffe.pkl").write_bytes(pickle.dumps({"blobs": {k: v.numpy() for k, v in WEIGHTS.items()}}, protocol=2))
    for name, made in (("w.pth", "w.converted.pth"), ("caffe.pkl", "caffe.pth")):
        with pytest.raises(UsageError) as error:
            read_checkpoint(Path(name))
        line = str(error.value).partition('python -c "')[2].removesuffix('"')
        exec(line, {})
        assert equal(read_checkpoint(Path(made)))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_plain_pickles_are_refused_unopened(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"blobs": Runs()}, protocol=protocol))
    with pytest.raises(UsageError, match=r"plain pickle.*convert it once"):
        read_checkpoint(path)
    assert RAN == []


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy", "tar.gz"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_cut_off_files(tmp_path: Path, kind: str, share: float) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut.pth"
    weights = {f"layers.{i}.weight": torch.randn(50, 50) for i in range(4)}
    if kind == "safetensors":
        save_file(weights, whole)
    else:
        torch.save(weights, whole, _use_new_zipfile_serialization=kind != "legacy")
    if kind == "tar.gz":
        whole = archive(tmp_path / "w.tar.gz", {"a/w.pth": whole.read_bytes()})
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UsageError, match=r"not a whole (safetensors file|torch file|archive)"):
        read_checkpoint(cut)


def test_files_that_are_none(tmp_path: Path) -> None:
    def refused(name: str, content: bytes, words: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=words) as error:
            read_checkpoint(tmp_path / name)
        assert name in str(error.value)

    refused("empty.pth", b"", "is empty")
    refused("page.pth", b"\n<!DOCTYPE html><html>Sign in</html>", "is a web page, not weights")
    refused("denied.pth", b"<?xml version='1.0'?><Error>AccessDenied</Error>", "is a web page, not weights")
    refused("lfs.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer")
    refused("keras.h5", b"\x89HDF\r\n\x1a\n" + bytes(50), "Keras HDF5")
    refused("one.pth", b"\x80", "no weight file")
    refused("notes.txt", b"Weights are elsewhere", "no weight file that can be read here. Known: safetensors")
    refused("w.safetensors", b"\x10\0\0\0", "not a whole safetensors file")


def test_paths_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no weight file"):
        read_checkpoint(tmp_path / "none" / "w.pth")
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"In that folder: model\.safetensors"):
        read_checkpoint(tmp_path / "modle.safetensors")
    with pytest.raises(UsageError, match=r"is a folder.*holds model\.safetensors"):
        read_checkpoint(tmp_path)


def test_archives_and_programs_are_told_apart_from_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.zeros(2))
    with pytest.raises(UsageError, match=r"zip archive of a\.npy"):
        read_checkpoint(tmp_path / "w.npz")
    torch.save({"epoch": 3, "best": "x"}, tmp_path / "none.pth")
    with pytest.raises(UsageError, match=r"holds no weights by name\. It holds epoch, best"):
        read_checkpoint(tmp_path / "none.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(UsageError, match="holds no weights by name"):
        read_checkpoint(tmp_path / "list.pth")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as program:
        for member in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            program.writestr(f"w/{member}", b"x")
    with pytest.raises(UsageError, match="TorchScript program"):
        read_checkpoint(tmp_path / "w.pt")


def archive(path: Path, members: dict[str, bytes], links: tuple[str, ...] = ()) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    return path


def saved() -> bytes:
    buffer = io.BytesIO()
    torch.save(WEIGHTS, buffer)
    return buffer.getvalue()


def test_archives_are_read_without_a_path_of_theirs(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = archive(inner / "w.tar.gz", {"../../evil.pth": saved(), "../README": b"x"}, links=("model.safetensors",))
    assert equal(read_checkpoint(path))
    assert {p.name for p in tmp_path.rglob("*")} == {"inner", "w.tar.gz"}


def test_archives_of_several_or_none(tmp_path: Path) -> None:
    two = archive(tmp_path / "two.tar.gz", {"a.pth": saved(), "b.pth": saved()})
    with pytest.raises(UsageError, match=r"one checkpoint and holds a\.pth, b\.pth"):
        read_checkpoint(two)
    with pytest.raises(UsageError, match="holds README"):
        read_checkpoint(archive(tmp_path / "none.tar.gz", {"README": b"x"}))
    (tmp_path / "single.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(UsageError, match="not a whole archive"):
        read_checkpoint(tmp_path / "single.gz")


@pytest.mark.parametrize("name", ["ckpt-1", "ckpt-1.index", "ckpt-1.data-00000-of-00001"])
def test_tensorflow_checkpoints_by_each_of_their_names(tmp_path: Path, monkeypatch: Any, name: str) -> None:
    (tmp_path / "ckpt-1.index").write_bytes(b"i")
    (tmp_path / "ckpt-1.data-00000-of-00001").write_bytes(b"d")
    monkeypatch.setattr(f"{TENSORFLOW}.read_tensorflow", reader())
    assert json.loads(next(iter(read_checkpoint(tmp_path / name)))) == ["ckpt-1", "i", "d"]


def test_a_tensorflow_checkpoint_in_an_archive(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(f"{TENSORFLOW}.read_tensorflow", reader())
    members = {"movinet/checkpoint": b"c", "movinet/ckpt-1.index": b"i", "movinet/ckpt-1.data-00000-of-00001": b"d"}
    found = read_checkpoint(archive(tmp_path / "w.tar.gz", members))
    assert json.loads(next(iter(found))) == ["ckpt-1", "i", "d"]


def test_a_tensorflow_checkpoint_without_its_index(tmp_path: Path) -> None:
    (tmp_path / "ckpt-1.data-00000-of-00001").write_bytes(b"d")
    with pytest.raises(UsageError, match=r"There is no weight file .*ckpt-1\.index"):
        read_checkpoint(tmp_path / "ckpt-1.data-00000-of-00001")


def test_flax_files_by_their_first_byte(tmp_path: Path, monkeypatch: Any) -> None:
    stand_in = SimpleNamespace(read_flax=lambda path: {"flax": torch.zeros(1)})
    monkeypatch.setitem(sys.modules, "kinelite.models.checkpoints.flax", stand_in)
    for first in (0x81, 0x8F, 0xDE, 0xDF):
        (tmp_path / "checkpoint").write_bytes(bytes((first, 0xA6)) + b"target")
        assert "flax" in read_checkpoint(tmp_path / "checkpoint")


def reader() -> Callable[[Path], dict[str, Tensor]]:
    """Stands for TensorFlow's reader: what it was given, and what lay beside it."""

    def read(prefix: Path) -> dict[str, Tensor]:
        beside = [prefix.with_name(prefix.name + end).read_text() for end in (".index", ".data-00000-of-00001")]
        return {json.dumps([prefix.name, *beside]): torch.zeros(1)}

    return read


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "load_file", fails)
    with pytest.raises(UsageError, match="cannot be read: Input/output error"):
        read_checkpoint(tmp_path / "w.safetensors")
