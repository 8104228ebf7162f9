"""TorchCodec's frames against PyAV's; skipped where TorchCodec or FFmpeg's libraries are missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinelite.data.clip import Clip, ClipInfo
from kinelite.data.decode import DamagedClip, decode, decoder_in_use, probe, read_clip, use_decoder
from kinelite.data.readers import torchcodec_reader, video
from kinelite.data.sampling import sparse_times
from kinelite.data.sink import Whole
from kinelite.errors import SetupError, UsageError


def usable() -> bool:
    try:
        torchcodec_reader.require()
    except SetupError:
        return False
    return True


needs_torchcodec = pytest.mark.skipif(not usable(), reason="TorchCodec or FFmpeg's libraries are not installed")


@pytest.fixture
def with_torchcodec():
    use_decoder("torchcodec")
    yield
    use_decoder("pyav")


def decoded(module: Any, info: ClipInfo, times_s: np.ndarray, short_side: int | None = None) -> Clip:
    whole = Whole()
    pts_s = module.decode(info, times_s, whole, short_side)
    return Clip(whole.channels_first, pts_s, info.path)


@needs_torchcodec
@pytest.mark.parametrize("times", [[0.0, 0.1, 0.2], [0.35, -1.0, 0.1, 9.0, 0.1]])
def test_the_same_clip(clip_folder: Path, times: list[float]) -> None:
    info = probe(clip_folder / "moves_right" / "0.mp4")
    ours, theirs = (decoded(module, info, np.array(times)) for module in (video, torchcodec_reader))
    assert np.array_equal(ours.frames, theirs.frames)
    assert ours.pts_s == pytest.approx(theirs.pts_s)


@needs_torchcodec
def test_it_is_torchcodec_that_decodes(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(clip_folder / "moves_right" / "0.mp4")
    monkeypatch.setattr(video, "decode", lambda *_: pytest.fail("PyAV was asked"))
    assert decoded(torchcodec_reader, info, np.array([0.2])).frames.shape == (1, 3, 32, 32)
    with pytest.raises(pytest.fail.Exception, match="PyAV was asked"):
        decoded(torchcodec_reader, info, np.array([0.2]), 16)


@needs_torchcodec
def test_real_files(shared: Path) -> None:
    """Where both are built on FFmpeg versions of equal output; 10-bit video and MPEG-4 in AVI are known to differ."""
    names = (
        "awkward/decord/video_90.mov",
        "awkward/smallest/webm.webm",
        "awkward/torchcodec/h265_video.mp4",
        "known-labels/dog.mp4",
        "known-labels/goat.mp4",
    )
    for name in names:
        info = probe(shared / "data" / name)
        times = sparse_times(info.start_s, info.end_s, 5)
        ours, theirs = (decoded(module, info, times) for module in (video, torchcodec_reader))
        assert np.array_equal(ours.frames, theirs.frames), name
        assert ours.pts_s == pytest.approx(theirs.pts_s)


@needs_torchcodec
def test_what_it_cannot_do_is_left_to_pyav(shared: Path) -> None:
    counted = probe(next(iter(sorted((shared / "data/ut-interaction/set1/hugging").glob("*.avi")))))
    assert counted.counted
    times = sparse_times(counted.start_s, counted.end_s, 3)
    ours, theirs = (decoded(module, counted, times) for module in (video, torchcodec_reader))
    assert np.array_equal(ours.frames, theirs.frames)
    damaged = probe(shared / "data/awkward/decord/corrupted.mp4")
    with pytest.raises(DamagedClip):
        decoded(torchcodec_reader, damaged, np.array([1.0, 4.0]))


@needs_torchcodec
@pytest.mark.usefixtures("with_torchcodec")
def test_every_reading_goes_through_the_decoder_in_use(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = torchcodec_reader.decode
    monkeypatch.setattr(torchcodec_reader, "decode", lambda info, *a: asked.append(info.path) or real(info, *a))
    path = clip_folder / "moves_right" / "0.mp4"
    assert read_clip(path, 3).frames.shape == (3, 3, 32, 32)
    assert decode(path, np.zeros(1)).frames.shape == (1, 3, 32, 32)
    assert asked == [str(path)] * 2
    assert decoder_in_use() == "torchcodec"


def test_without_torchcodec_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchcodec", "torchcodec.decoders"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SetupError, match=r"is not installed.*kinelite\[torchcodec\].*ffmpeg.*--clips\.decoder pyav"):
        use_decoder("torchcodec")
    assert decoder_in_use() == "pyav"


def test_unknown_decoders_are_refused() -> None:
    for name in ("auto", "decord", ""):
        with pytest.raises(UsageError, match="pyav, torchcodec"):
            use_decoder(name)
