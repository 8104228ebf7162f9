"""Prepared clips: the frames and times of the original, and every kind of damage named."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from kinelite.data.clip import Clip
from kinelite.data.decode import ClipError, decode, probe, read_clip
from kinelite.data.manifest import Row
from kinelite.data.prepare.pack import pack
from kinelite.data.prepare.store import FORMATS, Settings
from kinelite.data.readers import packed
from kinelite.data.sampling import dense_times, sparse_times

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
LEAST_PSNR_DB = {"raw": np.inf, "raw-yuv": 30.0, "jpeg": 30.0, "h264": 28.0}
QUALITY = {"raw": 0, "raw-yuv": 0, "jpeg": 90, "h264": 20}
every_format = pytest.mark.parametrize("name", FORMATS)


def stored(path: Path, target: Path, chosen: Settings, start_s: float | None = None, end_s: float | None = None) -> str:
    with open(target, "wb+") as file:
        packed_as = pack(Row(str(path), (0,), "train", start_s, end_s), chosen, file, path.name, 7)
    assert target.stat().st_size == packed_as.bytes
    return str(target)


def settings_of(name: str, **more: object) -> Settings:
    return replace(Settings(name, QUALITY[name]), **more)  # type: ignore[arg-type]


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else np.inf


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> Path:
    return clip_folder / "moves_right" / "0.mp4"


@every_format
def test_sampling_from_the_store_finds_the_frames_of_the_original(name: str, clip: Path, tmp_path: Path) -> None:
    path = stored(clip, tmp_path / "a.clip", settings_of(name))
    for seed in (None, 0, 1):
        for sampling in ("sparse", "dense"):
            drawn = [
                read_clip(p, 5, sampling=sampling, rng=None if seed is None else np.random.default_rng(seed))  # type: ignore[arg-type]
                for p in (clip, path)
            ]
            assert np.array_equal(drawn[0].pts_s, drawn[1].pts_s)
            assert psnr_db(drawn[0].frames, drawn[1].frames) >= LEAST_PSNR_DB[name]
    original, info = probe(clip), probe(path)
    for field in ("start_s", "end_s", "fps", "width", "height", "time_base"):
        assert getattr(info, field) == getattr(original, field)
    assert original.pts is not None
    assert info.pts is not None
    assert np.array_equal(info.pts, original.pts)


@every_format
@pytest.mark.parametrize("gop", [1, 3])
def test_any_order_and_repeats_and_times_outside(name: str, gop: int, clip: Path, tmp_path: Path) -> None:
    chosen = settings_of(name, gop=gop if name == "h264" else 1)
    path = stored(clip, tmp_path / "a.clip", chosen)
    info = probe(path)
    everything = decode(path, np.linspace(info.start_s, info.end_s, 13)[:-1] + 1e-4).frames
    assert len(everything) == 12
    times = np.array([info.end_s + 9, info.start_s - 9, *(info.start_s + np.array([7, 7, 2, 11]) / info.fps)])
    picked = decode(path, times)
    assert np.array_equal(picked.frames, everything[[11, 0, 7, 7, 2, 11]])
    assert picked.frames.strides[1] == 1, "colours lie side by side in memory"


def test_odd_sizes_and_shrinking_while_reading(clip: Path, tmp_path: Path) -> None:
    for name in FORMATS:
        path = stored(clip, tmp_path / f"{name}.clip", settings_of(name, short_side=27))
        got, wanted = read_clip(path, 4), read_clip(clip, 4, short_side=27)
        assert got.frames.shape == wanted.frames.shape == (4, 3, 27, 27)
        assert psnr_db(got.frames, wanted.frames) >= LEAST_PSNR_DB[name] - 3
        assert read_clip(path, 4, short_side=9).frames.shape == (4, 3, 9, 9)
        assert read_clip(path, 4, short_side=99).frames.shape == (4, 3, 27, 27)


@given(start=st.floats(0, 0.45), length=st.floats(0.02, 0.5), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_part_becomes_a_clip_that_samples_alike(
    start: float, length: float, seed: int, clip: Path, tmp_path: Path
) -> None:
    try:
        wanted = read_clip(clip, 6, start_s=start, end_s=start + length, rng=np.random.default_rng(seed))
    except ClipError:
        return
    path = stored(clip, tmp_path / f"{start}-{length}.clip", settings_of("raw"), start, start + length)
    got = read_clip(path, 6, rng=np.random.default_rng(seed))
    assert np.array_equal(got.pts_s, wanted.pts_s)
    assert np.array_equal(got.frames, wanted.frames)


def real_files() -> list[str]:
    """Short ones of every kind."""
    files = [*SHARED.glob("awkward/*/*.m*"), *SHARED.glob("known-labels/*.avi"), *SHARED.glob("known-labels/*o*.mp4")]
    return sorted(file.relative_to(SHARED).as_posix() for file in files if file.stat().st_size < 400_000)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared test clips are not beside this checkout")
@pytest.mark.parametrize("name", real_files() or ["none"])
def test_raw_is_bit_identical_on_real_files(name: str, tmp_path: Path) -> None:
    path = SHARED / name
    try:
        info = probe(path)
        both = [sparse_times(info.start_s, info.end_s, 9, np.random.default_rng(3)),
                dense_times(info.start_s, info.end_s, 9, 2 * info.period_s)]  # fmt: skip
        wanted = [decode(path, times, short_side=64) for times in both]
    except ClipError:
        return
    copy = stored(path, tmp_path / "a.clip", settings_of("raw", short_side=64))
    for clip, times in zip(wanted, both, strict=True):
        same(decode(copy, times), clip)


def same(got: Clip, wanted: Clip) -> None:
    assert np.allclose(got.pts_s, wanted.pts_s, rtol=0, atol=1e-9)
    assert np.array_equal(got.frames, wanted.frames)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared test clips are not beside this checkout")
def test_a_damaged_original_ends_where_its_good_part_ends(tmp_path: Path) -> None:
    path = next(SHARED.glob("awkward/*/corrupted.mp4"))
    with pytest.warns(UserWarning, match="damaged"):
        wanted = read_clip(path, 8, short_side=32)
    copy = stored(path, tmp_path / "a.clip", settings_of("raw", short_side=32))
    got = read_clip(copy, 8)
    assert np.array_equal(got.frames, wanted.frames)
    assert probe(copy).end_s < probe(path).end_s


def test_any_tool_can_open_it(clip: Path, tmp_path: Path) -> None:
    path = stored(clip, tmp_path / "a.clip", settings_of("jpeg"))
    with safe_open(path, "numpy") as file:
        offsets, data, pts_s = (file.get_tensor(name) for name in ("offsets", "data", "pts_s"))
        assert file.metadata()["format"] == "kinelite.clip"
    assert len(offsets) == 13
    assert np.array_equal(pts_s, probe(path).pts_s)  # type: ignore[attr-defined]
    assert bytes(data[offsets[3] : offsets[3] + 2]) == b"\xff\xd8"


@pytest.fixture(scope="module")
def contents(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        name: Path(stored(clip, folder / f"{name}.clip", settings_of(name, short_side=16))).read_bytes()
        for name in FORMATS
    }


def read_all(content: bytes, path: Path) -> Clip:
    path.write_bytes(content)
    packed._probe.cache_clear()
    info = packed.probe(path)
    return decode(path, np.linspace(info.start_s, info.end_s, 12), info)


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_named_or_lies_in_a_raw_frame(
    data: st.DataObject, contents: dict[str, bytes], tmp_path: Path
) -> None:
    name = data.draw(st.sampled_from(FORMATS))
    content = bytearray(contents[name])
    place = data.draw(st.one_of(st.integers(0, 400), st.integers(0, len(content) - 1)))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    whole = read_all(contents[name], tmp_path / "whole.clip")
    try:
        read = read_all(bytes(content), tmp_path / "flipped.clip")
    except ClipError:
        return
    # What may go through: a pixel of a raw frame, and the padding behind the last frame.
    info = packed.probe(tmp_path / "whole.clip")
    assert info.data_at <= place < info.data_at + info.offsets[-1] + 8
    assert name.startswith("raw") or np.array_equal(read.frames, whole.frames)
    assert np.array_equal(read.pts_s, whole.pts_s)


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_of_another_length_is_refused(data: st.DataObject, contents: dict[str, bytes], tmp_path: Path) -> None:
    content = contents[data.draw(st.sampled_from(FORMATS))]
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ClipError, match=r"cut off|empty|not a prepared clip"):
        read_all(content[:cut], tmp_path / "cut.clip")
    with pytest.raises(ClipError, match="too long"):
        read_all(content + b"x", tmp_path / "long.clip")


@given(content=st.binary(max_size=300))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ClipError):
        read_all(content, tmp_path / "noise.clip")
    framed = len(content).to_bytes(8, "little") + content
    with pytest.raises(ClipError):
        read_all(framed, tmp_path / "noise.clip")


def test_another_version_and_no_file(contents: dict[str, bytes], tmp_path: Path) -> None:
    newer = contents["jpeg"].replace(b'"version":"1"', b'"version":"2"')
    with pytest.raises(ClipError, match="version 2; this Kinelite reads version 1"):
        read_all(newer, tmp_path / "newer.clip")
    with pytest.raises(ClipError, match="No such file"):
        packed.probe(tmp_path / "none.clip")
    (tmp_path / "folder.clip").mkdir()
    with pytest.raises(ClipError, match="folder"):
        packed.probe(tmp_path / "folder.clip")


def test_a_file_that_is_cut_after_it_was_looked_at(contents: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in contents.items():
        path = tmp_path / f"{name}.clip"
        path.write_bytes(content)
        info = packed.probe(path)
        path.write_bytes(content[: info.data_at + 10])
        with pytest.raises(ClipError, match=r"cut off|checksum"):
            decode(path, np.array([info.end_s]), info)


def test_thinning(clip: Path, tmp_path: Path) -> None:
    original = probe(clip)
    everything = decode(clip, original.start_s + (np.arange(12) + 0.1) / original.fps)
    path = stored(clip, tmp_path / "frames.clip", settings_of("raw", frames=4))
    for rng in (None, np.random.default_rng(0)):  # each random time of a segment shows the frame of that segment
        got = read_clip(path, 4, rng=rng)
        assert np.array_equal(got.frames, read_clip(clip, 4).frames)
        assert np.array_equal(got.pts_s, read_clip(clip, 4).pts_s)
    path = stored(clip, tmp_path / "stride.clip", settings_of("raw", stride=5))
    assert np.array_equal(read_clip(path, 3).frames, everything.frames[[0, 5, 10]])
    assert probe(path).fps == pytest.approx(original.fps / 5)
    path = stored(clip, tmp_path / "fps.clip", settings_of("raw", fps=original.fps / 3))
    assert np.array_equal(probe(path).pts_s, everything.pts_s[::3])  # type: ignore[attr-defined]
    path = stored(clip, tmp_path / "more.clip", settings_of("raw", frames=40))
    assert probe(path).packets == 12


def test_squashed_to_a_square(clip: Path, tmp_path: Path) -> None:
    assert read_clip(stored(clip, tmp_path / "a.clip", settings_of("jpeg", size=24)), 3).frames.shape == (3, 3, 24, 24)


def test_long_clips_are_written_in_pieces(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kinelite.data.prepare import pack as packing

    whole = Path(stored(clip, tmp_path / "a.clip", settings_of("h264", gop=4))).read_bytes()
    monkeypatch.setattr(packing, "PIECE_BYTES", 5 * 3 * 32 * 32)
    assert Path(stored(clip, tmp_path / "b.clip", settings_of("h264", gop=4))).read_bytes() == whole


def test_the_same_frames_give_the_same_bytes(clip: Path) -> None:
    found = set()
    for _ in range(40):  # a setting of x264 made two or three in a hundred differ
        file = io.BytesIO()
        pack(Row(str(clip), (0,), "train"), settings_of("h264", gop=4), file)
        found.add(file.getvalue())
    assert len(found) == 1


def test_a_path_that_needs_much_room_in_the_header(clip: Path) -> None:
    file = io.BytesIO()
    name = '\udc80é\N{GRINNING FACE}"\\' * 200
    pack(Row(str(clip), (0,), "train"), settings_of("jpeg"), file, name)
    assert packed._header(file.getvalue(), "x", len(file.getvalue()))[0].source == name


def test_the_original_is_not_needed_afterwards(clip: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(clip, tmp_path / "gone.mp4"))
    path = stored(copy, tmp_path / "a.clip", settings_of("h264", gop=2))
    copy.unlink()
    assert read_clip(path, 8).frames.shape == (8, 3, 32, 32)


def test_a_large_file_whose_probe_has_no_table_of_times(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kinelite.data.readers import probe as probing

    copy = Path(shutil.copy(clip, tmp_path / "large.mp4"))
    monkeypatch.setattr(probing, "WHOLE_FILE_BYTES", 0)
    assert probe(copy).pts is None
    path = stored(copy, tmp_path / "a.clip", settings_of("raw"), 0.1, 0.35)
    same(read_clip(path, 9), read_clip(copy, 9, start_s=0.1, end_s=0.35))


def test_frames_that_come_with_other_times_than_announced_are_counted(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `video` finds them: what it decodes after that is at start_s + i / fps."""
    from kinelite.data.prepare import pack as packing

    info = probe(clip)
    assert info.pts is not None
    shifted = replace(info, pts=info.pts + int(0.4 * info.period_s / info.time_base))
    monkeypatch.setattr(packing, "probe", lambda _: shifted)
    path = stored(clip, tmp_path / "a.clip", settings_of("raw"))
    stored_info = probe(path)
    assert stored_info.packets == 12
    assert stored_info.pts is None
    same(read_clip(path, 12), read_clip(clip, 12))
