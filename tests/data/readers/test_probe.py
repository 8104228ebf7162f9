from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinelite.data.clip import ClipError
from kinelite.data.decode import decode, read_clip
from kinelite.data.readers import probe as probing
from kinelite.data.readers.probe import probe
from kinelite.errors import DataError


def write_video(path: Path, frames: int, start: int = 0) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"preset": "veryfast", "g": "10", "bf": "2", "sc_threshold": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            image = np.full((48, 64, 3), i % 200, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = start + i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_what_a_file_holds(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "a.mkv", 30, start=50))
    assert (info.width, info.height, info.rotation, info.codec, info.packets) == (64, 48, 0, "h264", 30)
    assert (info.start_s, info.end_s, info.fps, info.seconds) == pytest.approx((2.0, 3.2, 25.0, 1.2))
    assert info.keyframes_s == pytest.approx([2.0, 2.4, 2.8])
    assert info.pts is not None
    assert len(info.pts) == 30


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_a_large_file_is_described_as_if_it_were_read_whole(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / f"a{suffix}", 1000)
    whole = probe(path)
    probing._probe.cache_clear()
    monkeypatch.setattr(probing, "WHOLE_FILE_BYTES", 0)
    ends = probe(path)
    probing._probe.cache_clear()
    assert ends.pts is None
    assert (ends.start_s, ends.end_s, ends.fps) == pytest.approx((whole.start_s, whole.end_s, whole.fps), abs=1e-3)
    if suffix in (".mp4", ".mkv"):
        assert ends.keyframes_s == pytest.approx(whole.keyframes_s)
    assert ends.packets == pytest.approx(whole.packets, abs=1)


def test_a_table_of_many_frames_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "LONGEST_TABLE", 20)
    info = probe(write_video(tmp_path / "a.mp4", 30))
    assert info.pts is None
    assert info.packets == 30


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be opened"), (b"", "0 bytes"), (b"not a video" * 99, "not a video"), (b"\0" * 5000, "not a video")],
)
def test_unusable_files_name_the_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "clip: with a colon.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClipError, match=reason) as error:
        probe(path)
    assert isinstance(error.value, DataError)
    assert str(path) in str(error.value)
    assert error.value.exit_code == 4


def test_folder_and_sound_are_not_clips(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="is a folder"):
        probe(tmp_path)
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ClipError, match="no video stream"):
        probe(sound)


def test_a_changed_file_is_probed_again(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert probe(write_video(path, 5)).packets == 5
    assert probe(write_video(path, 9)).packets == 9


def test_a_file_is_opened_once_for_probing_and_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 30)
    opened: list[str] = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda name, **options: opened.append(name) or real(name, **options))
    first = read_clip(path, 6)
    assert len(opened) == 1
    assert np.array_equal(read_clip(path, 6).frames, first.frames)
    assert len(opened) == 2


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize("times", [[0.0], [0.7, 1.1], [3.9], [0.0, 3.0, 3.9], [99.0]])
def test_what_probing_left_open_gives_what_a_fresh_file_gives(tmp_path: Path, suffix: str, times: list[float]) -> None:
    path = write_video(tmp_path / f"a{suffix}", 100)
    left = decode(path, np.array(times))
    again = decode(path, np.array(times))
    assert np.array_equal(left.frames, again.frames)
    assert np.array_equal(left.pts_s, again.pts_s)


def test_only_the_last_file_is_left_open(tmp_path: Path) -> None:
    infos = [probe(write_video(tmp_path / f"{i}.mp4", 5)) for i in range(3)]
    assert probing.take_open(infos[0]) is None
    found = probing.take_open(infos[2])
    assert found is not None
    assert probing.take_open(infos[2]) is None
    found.container.close()


def test_another_thread_does_not_take_it(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "a.mp4", 5))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(probing.take_open, info).result() is None
    assert probing.take_open(info) is not None


def test_a_large_file_is_not_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "KEPT_BYTES", 100)
    info = probe(write_video(tmp_path / "a.mp4", 5))
    assert probing.take_open(info) is None
    assert len(read_clip(tmp_path / "a.mp4", 3).frames) == 3
