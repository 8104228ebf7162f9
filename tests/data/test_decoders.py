"""decoder=auto: the faster one, if its frames are the same."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kinelite.data import choose_decoder as choosing
from kinelite.data.choose_decoder import CLIPS, choose_decoder
from kinelite.data.clip import ClipError, ClipInfo
from kinelite.data.manifest import Row
from kinelite.data.readers import video
from kinelite.data.sampling import sparse_times
from kinelite.data.sink import Whole
from kinelite.errors import SetupError, UsageError


def choose(start_s: float, end_s: float, _frame_s: float) -> np.ndarray:
    return sparse_times(start_s, end_s, 4)


@pytest.fixture
def rows(clip_folder: Path) -> list[Row]:
    return [Row(str(path), (0,), "train") for path in sorted(clip_folder.glob("*/*.mp4"))]


class Stub:
    """Stands for TorchCodec: PyAV's frames, changed or not, after some work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, change: int = 0, slower_s: float = 0.0) -> None:
        self.change, self.slower_s, self.asked = change, slower_s, []
        monkeypatch.setattr(choosing, "torchcodec_reader", SimpleNamespace(require=lambda: None, decode=self.decode))

    def decode(self, info: ClipInfo, times_s: np.ndarray, sink: Whole) -> np.ndarray:
        self.asked.append(info.path)
        pts_s = video.decode(info, times_s, sink)
        until = time.process_time() + self.slower_s
        while time.process_time() < until:
            pass
        sink.frames += np.uint8(self.change)
        return pts_s


@pytest.fixture
def slow_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    real = video.decode

    def decode(info: ClipInfo, times_s: np.ndarray, sink: Whole) -> np.ndarray:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
        return real(info, times_s, sink)

    monkeypatch.setattr(choosing, "video", SimpleNamespace(decode=decode, probe=video.probe))
    monkeypatch.setattr(choosing, "reader", lambda _: choosing.video)


@pytest.mark.usefixtures("slow_pyav")
def test_the_faster_one_with_the_same_frames_is_taken(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub(monkeypatch)
    choice = choose_decoder("auto", rows, choose)
    assert choice.name == "torchcodec"
    assert choice.ms_pyav is not None
    assert choice.ms_torchcodec is not None
    assert choice.ms_pyav > choice.ms_torchcodec
    assert len(set(stub.asked)) == CLIPS
    assert {Path(path).parent.name for path in stub.asked} == {"moves_right", "moves_down"}
    for part in (f"{choice.ms_pyav:.1f} ms", f"{choice.ms_torchcodec:.1f} ms", "the same frames", "4 clips"):
        assert part in choice.why


@pytest.mark.usefixtures("slow_pyav")
def test_a_faster_one_with_other_frames_is_not(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    Stub(monkeypatch, change=1)
    choice = choose_decoder("auto", rows, choose)
    assert choice.name == "pyav"
    assert "other frames" in choice.why


def test_a_slower_one_is_not(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    Stub(monkeypatch, slower_s=0.02)
    choice = choose_decoder("auto", rows, choose)
    assert choice.name == "pyav"
    assert "the same frames" in choice.why


def test_clips_that_cannot_be_read_are_passed_over(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = Stub(monkeypatch)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    mixed = [Row(str(bad), (0,), "train") if i % 2 else row for i, row in enumerate(rows[:8])]
    assert "4 clips" in choose_decoder("auto", mixed, choose).why
    assert str(bad) not in stub.asked

    def broken(*_: object) -> np.ndarray:
        raise ClipError("a", "is odd")

    monkeypatch.setattr(choosing, "video", SimpleNamespace(decode=broken, probe=video.probe))
    monkeypatch.setattr(choosing, "reader", lambda _: choosing.video)
    assert "no video file" in choose_decoder("auto", rows, choose).why


def test_sets_without_video_files_are_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub(monkeypatch)
    (tmp_path / "clip").mkdir()
    choice = choose_decoder("auto", [Row(str(tmp_path / "clip"), (0,), "train")], choose)
    assert (choice.name, choice.ms_pyav, stub.asked) == ("pyav", None, [])
    assert choose_decoder("auto", [], choose).name == "pyav"


def test_names(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub(monkeypatch)
    assert choose_decoder("pyav", rows, choose).name == "pyav"
    assert choose_decoder("torchcodec", rows, choose).name == "torchcodec"
    assert stub.asked == []
    with pytest.raises(UsageError, match=r"decoder 'torchcodek'. Nearest: torchcodec"):
        choose_decoder("torchcodek", rows, choose)


def test_without_torchcodec(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise SetupError("TorchCodec is not installed. Do this.")

    monkeypatch.setattr(choosing, "torchcodec_reader", SimpleNamespace(require=refuse))
    choice = choose_decoder("auto", rows, choose)
    assert (choice.name, choice.why) == ("pyav", "Decoder: PyAV; TorchCodec is not installed.")
    with pytest.raises(SetupError, match="is not installed"):
        choose_decoder("torchcodec", rows, choose)
