"""kinelite train and what lies on the disk: folders of other runs, full disks, weights that do not fit, Ctrl-C."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinelite import records


def test_the_folder_of_another_config_is_left_alone_and_what_differs_is_listed(
    kinelite: Any, clip_folder: Path, run_folder: Path, small: Any
) -> None:
    before = (run_folder / "config.json").read_bytes()
    done = kinelite(
        "train", "conventional", "--data", f"folder:{clip_folder}", *small, "--seed", 9, "--out", run_folder
    )
    done.failed(2, "another config", "seed: 0 there, 9 now", "frames: 8 there, 4 now", "--out")
    assert "micro_batch" not in done.err
    assert (run_folder / "config.json").read_bytes() == before


def test_a_config_that_is_not_ours(kinelite: Any, clip_folder: Path, small: Any, tmp_path: Path) -> None:
    for number, text in enumerate(("{", '{"frames": "many"}', "[]")):
        out = tmp_path / str(number)
        out.mkdir()
        (out / "config.json").write_text(text)
        done = kinelite("train", "sfa", "--data", f"folder:{clip_folder}", *small, "--out", out)
        done.failed(2, "config.json", "--out")


def test_clips_that_changed_since_the_checkpoint(
    kinelite: Any, copied: Path, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("train", "conventional", "--data", f"folder:{copied}", *small, "--out", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("kinelite.train.job.Job.out_of_time", _interrupt)
        kinelite(*flags).failed(1, "Ctrl-C")
    (copied / "moves_down" / "new.mp4").write_bytes((copied / "moves_down" / "0.mp4").read_bytes())
    (tmp_path / "run" / "record.json").unlink(missing_ok=True)
    assert not list((tmp_path / "run" / "checkpoints").glob("*")), "interrupted before the first checkpoint"
    assert kinelite(*flags).code == 0


def _interrupt(_: object) -> bool:
    raise KeyboardInterrupt


def test_a_full_disk_loses_nothing(
    kinelite: Any, clip_folder: Path, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    flags = (
        "train",
        "conventional",
        "--data",
        f"folder:{clip_folder}",
        *small,
        "--keep.every-steps",
        "1",
        "--out",
        out,
    )
    real = os.fsync

    def full(handle: int) -> None:
        if (out / "checkpoints" / "step-000000002.safetensors").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        kinelite(*flags).failed(3, "the disk is full", "same command")
    kept = sorted(p.name for p in (out / "checkpoints").iterdir())
    assert kept == ["step-000000001.safetensors", "step-000000002.safetensors"]
    done = kinelite(*flags)
    assert done.code == 0, done.err
    assert "Continuing" in done.err
    assert "at step 2" in done.err


def test_a_read_only_folder(
    kinelite: Any, clip_folder: Path, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root writes into everything, so that the refusal has to be played.
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(records.Path, "mkdir", refuse)
    done = kinelite("train", "sfa", "--data", f"folder:{clip_folder}", *small, "--out", tmp_path / "run")
    done.failed(3, "read-only", "--out")


def test_a_file_in_the_way_of_the_folder(kinelite: Any, clip_folder: Path, small: Any, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    done = kinelite("train", "sfa", "--data", f"folder:{clip_folder}", *small, "--out", tmp_path / "run")
    done.failed(3, "file of that name is in the way")
    done = kinelite("train", "sfa", "--data", f"folder:{clip_folder}", *small, "--out", tmp_path / "run" / "below")
    done.failed(3, "part of that path is a file")


def test_weights_of_another_shape_are_answered_with_the_difference(
    kinelite: Any, clip_folder: Path, small: Any, run_folder: Path, tmp_path: Path
) -> None:
    state = load_file(run_folder / "model.safetensors")
    state["head.label.weight"] = torch.zeros(7, 5)
    state["temporal.extra"] = torch.zeros(3)
    save_file(state, tmp_path / "w.safetensors")
    flags = ("train", "sfa", "--data", f"folder:{clip_folder}", *small, "--out", tmp_path / "run")
    done = kinelite(*flags, "--pretrained", tmp_path / "w.safetensors")
    done.failed(2, "do not fit", "head.label.weight: file 7x5, model 2x96", "temporal.extra 3")


def test_a_pickle_is_refused_unopened(kinelite: Any, clip_folder: Path, small: Any, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "opened"),))

    flags = ("train", "sfa", "--data", f"folder:{clip_folder}", *small, "--out", tmp_path / "run")
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(), protocol=2))
        kinelite(*flags, "--pretrained", tmp_path / name).failed(2, "plain pickle", "convert it once")
    kinelite(*flags, "--init", tmp_path / "w.pt").failed(2, "pickle")
    assert not (tmp_path / "opened").exists()


def test_ctrl_c_keeps_a_checkpoint_and_prints_how_to_continue(
    kinelite: Any, clip_folder: Path, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kinelite.train.job import Job

    flags = ("train", "conventional", "--data", f"folder:{clip_folder}", *small, "--out", tmp_path / "run")
    monkeypatch.setattr("sys.argv", ["kinelite", *map(str, flags)])
    real = Job.log_due

    def press(job: Job, part: Any) -> bool:
        if job.progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(job, part)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "log_due", press)
        done = kinelite(*flags)
    done.failed(1, "Continue with: kinelite train conventional", str(tmp_path / "run"), "step-000000002.safetensors")
    assert kinelite(*flags).code == 0


def test_a_folder_in_use_is_refused(kinelite: Any, clip_folder: Path, small: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    ready, wake = os.pipe()
    pid = os.fork()
    if pid == 0:
        file = open(out / ".lock", "a")  # noqa: SIM115  (held until it is killed)
        fcntl.lockf(file, fcntl.LOCK_EX)
        os.write(wake, b"x")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    try:
        done = kinelite("train", "conventional", "--data", f"folder:{clip_folder}", *small, "--out", out)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    done.failed(2, "Another process is training", "--out")
    assert kinelite("train", "conventional", "--data", f"folder:{clip_folder}", *small, "--out", out).code == 0
