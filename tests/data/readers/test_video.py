from __future__ import annotations

import ctypes
import functools
import gc
import pickle
import shutil
import tracemalloc
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinelite.data.decode import ClipError, ClipWarning, DamagedClip, decode, probe, read_clip
from kinelite.data.readers import probe as probing
from kinelite.data.readers import video as decoding
from kinelite.errors import UsageError

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
NOT_VIDEO = {".pt", ".json", ".md", ""}
WITHOUT_FRAMES = {"AudioVideoInterleave.avi": "without any frame", "Mpeg4.mp4": "no video stream"}


def shared_files() -> list[Path]:
    folders = ("awkward/*/*", "known-labels/*")
    files = sorted(f for pattern in folders for f in SHARED.glob(pattern) if f.suffix not in NOT_VIDEO)
    return files + sorted(SHARED.glob("ut-interaction/set*/*/*.avi"))[::25]


needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared test clips are not beside this checkout")
every_file = pytest.mark.parametrize("path", shared_files() or [None], ids=lambda p: p.name if p else "none")


@functools.lru_cache(maxsize=1)
def decoded_in_full(path: Path) -> list[tuple[int, np.ndarray]]:
    """Every frame of the largest stream in the order of output, turned upright: independent of the code under test."""
    frames = []
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = max(container.streams.video, key=lambda s: s.width * s.height)
        stream.thread_type = "NONE"
        try:
            for frame in container.decode(stream):
                upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                frames.append((frame.pts * stream.time_base, upright.transpose(2, 0, 1)))
        except av.error.InvalidDataError:
            pass  # the file that is cut by damage
    return frames


def frame_times(path: Path, frames: int) -> np.ndarray:
    """When each frame is shown: its time stamp where stamps increase, else by count (AVI with reordered frames)."""
    stamps = np.array([float(t) for t, _ in decoded_in_full(path)])
    increasing = bool((np.diff(stamps) > 0).all())
    return stamps if increasing else np.arange(frames) / 30.0  # such files of the collection all run at 30


@needs_shared
@every_file
def test_right_frames_of_every_file(path: Path) -> None:
    if path.name in WITHOUT_FRAMES:
        with pytest.raises(ClipError, match=WITHOUT_FRAMES[path.name]) as error:
            read_clip(path, 4)
        assert error.value.path == str(path)
        return
    reference = decoded_in_full(path)
    shown = frame_times(path, len(reference))
    info = probe(path)
    rng = np.random.default_rng(0)
    picks = rng.choice(len(reference), size=min(7, len(reference)), replace=False)
    if len(reference) > 1:
        gap = np.diff(shown, append=shown[-1] + np.diff(shown)[-1])[picks]
        times = shown[picks] + gap * rng.uniform(0.05, 0.9, len(picks))
    else:
        times = shown[picks]
    clip = decode(path, times, info)
    assert clip.frames.shape[2:] == (info.height, info.width)
    assert clip.pts_s == pytest.approx(shown[picks], abs=1e-6)
    for pick, frame in zip(picks, clip.frames, strict=True):
        assert np.array_equal(frame, reference[pick][1])
    if path.name != "corrupted.mp4":
        assert info.packets == len(reference)
        assert info.end_s == pytest.approx(shown[-1] + info.period_s, abs=0.01)


@needs_shared
@every_file
def test_all_centres_are_all_frames(path: Path) -> None:
    if path.name in WITHOUT_FRAMES or path.name == "corrupted.mp4":
        pytest.skip("has no whole set of frames")
    info = probe(path)
    if info.width > 1000:
        pytest.skip("takes seconds and adds nothing")
    clip = read_clip(path, info.packets, short_side=8)
    assert len(np.unique(clip.pts_s)) == info.packets


@needs_shared
@pytest.mark.parametrize(
    "reference",
    sorted((SHARED / "awkward/torchcodec").glob("*.pt")) or [None],
    ids=lambda p: p.name if p else "none",
)
def test_frames_equal_those_of_ffmpeg(reference: Path) -> None:
    """Bit for bit, the frames that FFmpeg's command line wrote: an independent tool."""
    torch = pytest.importorskip("torch")
    name, stream, frame = reference.name.removesuffix(".pt").rsplit(".", 2)
    if name == "nasa_13013.mp4" and stream == "stream0":
        pytest.skip("of the smaller of two streams; the larger is decoded")
    path = reference.with_name(name)
    info = probe(path)
    assert info.pts is not None
    index = int(frame.removeprefix("frame"))
    shown_s = float(int(info.pts[index]) * info.time_base)
    ours = decode(path, np.array([shown_s]), info).frames[0].transpose(1, 2, 0)
    theirs = torch.load(reference, weights_only=True).numpy()
    assert ours.shape == theirs.shape
    assert np.array_equal(ours, theirs)


@needs_shared
def test_rotation_is_applied() -> None:
    folder = SHARED / "awkward/decord"
    plain, turned = probe(folder / "video_0.mov"), probe(folder / "video_90.mov")
    assert (plain.rotation, plain.width, plain.height) == (0, 568, 320)
    assert (turned.rotation, turned.width, turned.height) == (90, 320, 568)
    assert read_clip(folder / "video_90.mov", 1).frames.shape == (1, 3, 568, 320)


@needs_shared
def test_damaged_clip_says_where_and_the_good_part_is_used() -> None:
    path = SHARED / "awkward/decord/corrupted.mp4"
    with pytest.raises(DamagedClip) as damage:
        decode(path, np.array([1.0, 4.0]))
    assert damage.value.last_good_s == pytest.approx(2.7)
    with pytest.warns(ClipWarning, match=r"corrupted\.mp4.*0\.000 s to 2\.800 s"):
        clip = read_clip(path, 28)
    assert clip.pts_s == pytest.approx(np.arange(28) / 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_clip(path, 4, end_s=2.5).pts_s[-1] < 2.5
    with pytest.raises(DamagedClip):
        read_clip(path, 4, start_s=3.5)


def write_video(
    path: Path,
    frames: int,
    *,
    fps: Fraction = Fraction(30),
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pts: Callable[[int], int] = int,
) -> Path:
    """A video in which frame i shows i in the brightness of its four quarters (base 4, survives compression)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {"preset": "ultrafast", "crf": "10"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / fps
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(i, size), format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = pts(i), 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


DIGITS = 8


def picture(i: int, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    digits = [(i >> (2 * d)) & 3 for d in range(DIGITS)]
    image = np.repeat(np.array(digits, dtype=np.uint8) * 60 + 30, width // DIGITS)
    return np.tile(image, (height, 1))


def number(frame: np.ndarray) -> int:
    columns = frame.mean(axis=(0, 1)).reshape(DIGITS, -1).mean(axis=1)
    return sum(round((value - 30) / 60) << (2 * d) for d, value in enumerate(columns))


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour at 1 frame per second with a keyframe every 50 s and B-frames."""
    options = {"preset": "veryfast", "crf": "24", "g": "50", "bf": "2", "sc_threshold": "0"}
    path = tmp_path_factory.mktemp("hour") / "hour.mp4"
    return write_video(path, 3600, fps=Fraction(1), size=(32, 32), options=options)


@pytest.mark.parametrize("large", [False, True], ids=["every packet", "beginning and end"])
def test_hour_long_file(hour: Path, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    probing._probe.cache_clear()
    if large:
        monkeypatch.setattr(probing, "WHOLE_FILE_BYTES", 0)
    info = probe(hour)
    probing._probe.cache_clear()
    assert (info.start_s, info.end_s, info.packets) == (0.0, 3600.0, 3600)
    assert len(info.keyframes_s) == 72
    assert (info.pts is None) == large
    seen = count_decoded(monkeypatch)
    tracemalloc.start()
    try:
        clip = decode(hour, np.array([3500.3, 10.2, 1800.0]), info)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [number(frame) for frame in clip.frames] == [3500, 10, 1800]
    assert len(seen) < 3 * 60
    assert peak < 4 * 2**20


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times of the frames that the decoder put out from here on."""
    seen: list[float] = []
    see = decoding._Pass._see

    def spy(self: decoding._Pass, frame: av.VideoFrame) -> None:
        seen.append(frame.time)
        see(self, frame)

    monkeypatch.setattr(decoding._Pass, "_see", spy)
    return seen


def test_all_frames_of_a_long_clip_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 300, size=(320, 240))
    tracemalloc.start()
    try:
        read_clip(path, 4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 320 * 240 * 3 + 2**20


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".mov"])
def test_each_container(tmp_path: Path, suffix: str) -> None:
    options = {"preset": "veryfast", "crf": "10", "g": "40", "bf": "3"}
    path = write_video(tmp_path / f"a{suffix}", 120, options=options)
    info = probe(path)
    assert info.packets == 120
    assert info.counted == (suffix == ".avi")
    rng = np.random.default_rng(0)
    picks = rng.integers(0, 120, 9)
    times = info.start_s + (picks + 0.5) / 30
    assert [number(frame) for frame in decode(path, times).frames] == picks.tolist()
    assert [number(frame) for frame in read_clip(path, 120).frames] == list(range(120))


def test_variable_frame_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 20, pts=lambda i: i if i < 10 else 10 + 3 * (i - 10))
    times = np.array([0.0, 9.5, 10.5, 12.9, 13.1, 18.0]) / 30
    assert [number(frame) for frame in decode(path, times).frames] == [0, 9, 10, 10, 11, 12]


def test_time_stamps_that_go_wrong_only_in_the_decoder_are_counted(tmp_path: Path) -> None:
    """H.264 with reordered frames whose stamps a careless remux replaced by decoding times."""
    good = write_video(tmp_path / "good.mp4", 90, options={"preset": "veryfast", "crf": "10", "bf": "2"})
    bad = tmp_path / "bad.mkv"
    with av.open(str(good)) as source, av.open(str(bad), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for i, packet in enumerate(p for p in source.demux(stream) if p.size):
            packet.pts = packet.dts = i * 512
            packet.stream = copy
            target.mux(packet)
    picks = np.array([3, 40, 41, 77])
    assert [number(frame) for frame in decode(bad, (picks + 0.5) / 30).frames] == picks.tolist()


def test_a_rounded_time_is_the_time_of_its_frame(tmp_path: Path) -> None:
    """Matroska stores milliseconds: frame 2 of 30 per second is at 0.067 s, a little after 2 / 30."""
    path = write_video(tmp_path / "a.mkv", 30)
    assert [number(frame) for frame in decode(path, np.arange(30) / 30).frames] == list(range(30))


def test_times_before_after_repeated_and_unordered(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 30)
    clip = decode(path, np.array([0.9, -5.0, 0.5, 99.0, 0.5]))
    assert [number(frame) for frame in clip.frames] == [27, 0, 15, 29, 15]
    assert clip.pts_s == pytest.approx([0.9, 0.0, 0.5, 29 / 30, 0.5])


def test_only_what_is_needed_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 300, options={"preset": "ultrafast", "g": "60"})
    seen = count_decoded(monkeypatch)
    decode(path, np.array([1.0]))
    assert max(seen) <= 1.01
    seen.clear()
    decode(path, np.array([0.0, 8.1]))
    assert len(seen) <= 6
    assert min(t for t in seen if t > 1) == pytest.approx(8.0)


def test_short_cuts_do_not_change_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"preset": "medium", "crf": "30", "g": "50", "bf": "3"}
    path = write_video(tmp_path / "a.mp4", 200, options=options)
    times = np.sort(np.random.default_rng(1).uniform(0, 200 / 30, 12))
    quick = decode(path, times)
    monkeypatch.setattr(decoding, "DROPPABLE", frozenset())
    monkeypatch.setattr(decoding, "SEEK_PAYS_FRAMES", 10**9)
    slow = decode(path, times)
    assert np.array_equal(quick.frames, slow.frames)
    assert np.array_equal(quick.pts_s, slow.pts_s)


def test_a_seek_that_misses_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MPEG-TS has no index: FFmpeg's seeks end where nothing decodes, or too late."""
    options = {"preset": "veryfast", "crf": "10", "g": "40", "bf": "3"}
    path = write_video(tmp_path / "a.ts", 120, options=options)
    monkeypatch.setattr(decoding, "SEEKABLE", ("mpegts",))
    for picks in ([102], [4, 61, 102], [119, 1]):
        times = probe(path).start_s + (np.array(picks) + 0.5) / 30
        assert [number(frame) for frame in decode(path, times).frames] == picks


def test_open_groups_of_pictures(tmp_path: Path) -> None:
    """MPEG-2 whose frames before a keyframe need the group before it, which a seek has left out."""
    options = {"g": "12", "bf": "2", "q:v": "2"}
    path = write_video(tmp_path / "a.mkv", 100, codec="mpeg2video", options=options)
    for picks in ([59, 60, 61], [2, 47, 48, 71, 72, 95], [99]):
        assert [number(frame) for frame in decode(path, (np.array(picks) + 0.5) / 30).frames] == picks


def test_part_of_a_file_and_dense_sampling(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 90)
    assert [number(f) for f in read_clip(path, 5, start_s=1.0, end_s=1.5).frames] == [31, 34, 37, 40, 43]
    dense = read_clip(path, 4, sampling="dense", stride=3, start_s=1.0, end_s=2.0)
    assert np.diff([number(f) for f in dense.frames]).tolist() == [3, 3, 3]
    drawn = [read_clip(path, 4, rng=np.random.default_rng(seed)).pts_s.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(ClipError, match="spans 0 s to 3 s"):
        read_clip(path, 4, start_s=5.0)


def test_fewer_frames_than_asked_repeat(tmp_path: Path) -> None:
    clip = read_clip(write_video(tmp_path / "a.mp4", 3), 6)
    assert [number(frame) for frame in clip.frames] == [0, 0, 1, 1, 2, 2]


def test_short_side_shrinks_and_never_enlarges(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 10)
    assert read_clip(path, 2, short_side=24).frames.shape == (2, 3, 24, 32)
    assert read_clip(path, 2, short_side=480).frames.shape == (2, 3, 48, 64)


def test_cut_off_file_holds_fewer_frames(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mkv", 200, size=(128, 96))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert 0.4 * 200 < probe(cut).packets < 200
    assert [number(f) for f in read_clip(cut, 10).frames] == [
        number(f) for f in decode(whole, read_clip(cut, 10).pts_s).frames
    ]


def test_odd_file_names(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    for name in ("tüte %d: 100%.mp4", "http:__x.mp4", "日本 語.mp4", "-i.mp4"):
        shutil.copy(path, tmp_path / name)
        assert len(read_clip(tmp_path / name, 2).frames) == 2


def test_infos_and_errors_cross_process_borders(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "a.mp4", 5))
    assert pickle.loads(pickle.dumps(info)) == info
    damage = pickle.loads(pickle.dumps(DamagedClip("a.mp4", 1.5, "broken")))
    assert (damage.path, damage.last_good_s, str(damage)) == ("a.mp4", 1.5, str(DamagedClip("a.mp4", 1.5, "broken")))
    assert str(pickle.loads(pickle.dumps(ClipError("a.mp4", "is odd")))) == "a.mp4: is odd"


def test_no_times_is_a_usage_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    for times in (np.zeros(0), np.array([np.nan])):
        with pytest.raises(UsageError, match="one or more finite"):
            decode(path, times)


class _Heap(ctypes.Structure):
    """What glibc's mallinfo2 tells."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names)


def test_nothing_is_left_of_a_clip_that_was_read(tmp_path: Path) -> None:
    """A packet per opened file and per seek was: resident memory is too coarse to see it."""
    try:
        heap = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        pytest.skip("the allocator does not tell (glibc 2.33 or newer does)")
    heap.restype = _Heap
    path = write_video(tmp_path / "a.mp4", 120, options={"g": "20"})

    def in_use() -> int:
        gc.collect()
        found = heap()
        return found.uordblks + found.hblkhd

    def read(times: int) -> None:
        for _ in range(times):
            info = probe(path)
            decode(path, np.array([0.1, 0.5, 0.9]) * info.end_s, info)

    read(20)
    before = in_use()
    read(100)
    assert in_use() - before < 100 * 60
