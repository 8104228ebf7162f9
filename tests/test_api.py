"""The Python names: lazy, complete, and the same work as the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kinelite as kl
from kinelite.config import KeepConfig
from kinelite.errors import UsageError


def test_importing_the_package_brings_nothing_heavy() -> None:
    code = "import sys, kinelite; print(*[m for m in ('torch', 'numpy', 'av', 'cv2', 'tyro') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_train_can_be_called_although_a_room_has_its_name() -> None:
    import kinelite.train.run  # makes Python put the room where the function was

    assert kinelite.train.run.train
    with pytest.raises(UsageError, match="Unknown data set 'nothing'"):
        kl.train(kl.recipes.sfa(data="nothing"))


@pytest.mark.parametrize("name", kl.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(kl, name) is not None
    assert name in dir(kl)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = kl.trian


def test_train_evaluate_predict_load(clip_folder: Path, tmp_path: Path) -> None:
    config = kl.recipes.conventional(
        data=f"folder:{clip_folder}",
        model="vivit_fe_nano",
        out=tmp_path / "run",
        frames=4,
        size=32,
        epochs=1,
        device="cpu",
        workers=0,
        keep=KeepConfig(strips=0),
    )
    run = kl.train(config)
    assert run.folder == tmp_path / "run"
    record = kl.evaluate(run, views=(2, 1), on="all", device="cpu")
    assert record.clips == "12 of 12"
    assert record.views == "2x1"
    trained = kl.load(run)
    assert trained.tasks == {"label": ("moves_down", "moves_right")}
    assert (trained.spec.frames, trained.spec.size) == (4, 32)
    (found,) = kl.predict(str(run.folder), [clip_folder / "moves_down" / "0.mp4"], top=2, device="cpu")
    assert {item["label"] for item in found.labels["label"]} == {"moves_down", "moves_right"}
    assert sum(item["probability"] for item in found.labels["label"]) == pytest.approx(1)
