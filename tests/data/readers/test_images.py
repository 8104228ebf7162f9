"""Image sequences and folders of images as clips."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kinelite.data.decode import ClipError, ClipWarning, DamagedClip, decode, probe, read_clip
from kinelite.data.readers import images
from kinelite.data.readers.image_headers import size_of
from kinelite.data.readers.images import FPS


def save(path: Path, number: int, size: tuple[int, int] = (24, 16), **options: object) -> Path:
    """A flat picture whose brightness is 2 x number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (2 * number, 2 * number, 2 * number)).save(path, **options)
    return path


def numbers(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 2) for frame in frames]


def series(folder: Path, shown: list[int], name: str = "frame_%05d.png") -> str:
    for number in shown:
        save(folder / (name % number), number)
    return str(folder / name)


def photograph(size: tuple[int, int] = (340, 256)) -> np.ndarray:
    """Smooth shapes and some texture, as photographs have them; uint8 [h, w, 3]."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (12, 16, 3)).astype(np.float32)
    image = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) + rng.normal(0, 4, (size[1], size[0], 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def test_the_number_is_the_clock(tmp_path: Path) -> None:
    info = probe(series(tmp_path, list(range(7, 20))))
    assert (info.start_s, info.end_s, info.fps, info.packets) == pytest.approx((7 / 30, 20 / 30, 30.0, 13))
    assert (info.width, info.height, info.rotation, info.container, info.codec) == (24, 16, 0, "images", "png")
    clip = decode(info.path, np.array([15.5, 7.0, 9.9, 12.0, -3.0, 99.0]) / FPS)
    assert numbers(clip.frames) == [15, 7, 9, 12, 7, 19]
    assert clip.pts_s == pytest.approx(np.array([15, 7, 9, 12, 7, 19]) / 30)


@given(first=st.integers(0, 10**6), count=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_a_part_by_image_numbers_is_those_images(first: int, count: int) -> None:
    """From n / FPS to (m + 1) / FPS there are images n to m, none missing and none more."""
    times = first / FPS + (np.arange(count) + 0.5) * ((first + count) / FPS - first / FPS) / count
    found = images._Series(np.zeros(1, np.int64), np.array([2 * 10**6]), "")
    assert found.shown(np.floor((times + 1e-3) * FPS)).tolist() == list(range(first, first + count))
    exact = np.arange(first, first + count) / FPS
    assert found.shown(np.floor((exact + 1e-3) * FPS)).tolist() == list(range(first, first + count))


def test_a_part_of_a_sequence(tmp_path: Path) -> None:
    path = series(tmp_path, list(range(100)), "frame_%010d.png")
    assert numbers(read_clip(path, 11, start_s=40 / FPS, end_s=51 / FPS).frames) == list(range(40, 51))
    with pytest.raises(ClipError, match=r"spans 0 s to 3\.33333 s"):
        read_clip(path, 4, start_s=5.0)


def test_a_missing_number_shows_the_image_before_it(tmp_path: Path) -> None:
    path = series(tmp_path, [3, 4, 5, 9, 10, 20])
    assert probe(path).packets == 6
    assert numbers(decode(path, np.arange(1, 22) / FPS).frames) == [3] * 3 + [4] + [5] * 4 + [9] + [10] * 10 + [20] * 2


def test_only_files_that_the_pattern_makes(tmp_path: Path) -> None:
    path = series(tmp_path, [1, 2], "a%%_%03d.png")
    for name in ("a%_1.png", "a%_0001.png", "a%_003.jpg", "b%_003.png", "a%_003.png.png", "a%_00x.png", "a%_٠٠٣.png"):
        save(tmp_path / "other.png", 9).rename(tmp_path / name)
    save(tmp_path / "a%_1000.png", 60)
    assert images._series(path, 0).numbers().tolist() == [1, 2, 1000]
    assert numbers(decode(path, np.array([50.0])).frames) == [60]


def test_a_folder_is_in_order_of_numbers_and_starts_at_zero(tmp_path: Path) -> None:
    for name, number in (("img_9.png", 1), ("img_10.PNG", 2), ("img_100.png", 3), ("img_0101.jpg", 4)):
        save(tmp_path / "clip" / name, number, format="PNG")
    save(tmp_path / "clip" / ".img_1.png", 90)
    (tmp_path / "clip" / "notes.txt").write_text("not an image")
    info = probe(tmp_path / "clip")
    assert (info.start_s, info.end_s, info.packets) == pytest.approx((0.0, 4 / 30, 4))
    assert numbers(read_clip(tmp_path / "clip", 4).frames) == [1, 2, 3, 4]


def test_optical_flow_beside_the_images_is_left_out(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        for name in ("img", "flow_x", "flow_y"):
            save(tmp_path / f"{name}_{number:05d}.jpg", number if name == "img" else 100)
    assert numbers(read_clip(tmp_path, 3).frames) == [1, 2, 3]
    for number in (1, 2, 3):
        (tmp_path / f"img_{number:05d}.jpg").unlink()
    assert probe(tmp_path).packets == 6


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".webp", ".bmp"])
def test_each_kind_gives_the_pixels_that_pillow_gives(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"1{suffix}"
    Image.fromarray(photograph()).save(file, quality=90)
    expected = np.array(Image.open(file).convert("RGB")).astype(int)
    found = read_clip(tmp_path, 1).frames[0].transpose(1, 2, 0)
    tolerance = 0 if suffix != ".webp" else 2  # two releases of libwebp may differ
    assert np.abs(found - expected).max() <= tolerance


def test_grey_palette_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    colours = Image.fromarray(photograph())
    for number, kind in enumerate(("L", "P", "RGBA", "RGB")):
        colours.convert(kind).save(tmp_path / f"{number}.png")
    frames = read_clip(tmp_path, 4).frames
    assert frames.shape == (4, 3, 256, 340)
    assert np.array_equal(frames[0][0], frames[0][2])
    for number, frame in enumerate(frames):
        expected = np.array(Image.open(tmp_path / f"{number}.png").convert("RGB"))
        assert np.array_equal(frame.transpose(1, 2, 0), expected)


def test_orientation_tags_are_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(photograph()).save(tmp_path / "1.jpg", exif=exif)
    assert (probe(tmp_path).width, probe(tmp_path).height) == (340, 256)
    assert read_clip(tmp_path, 1).frames.shape == (1, 3, 256, 340)


def test_images_of_other_sizes_are_brought_to_the_first(tmp_path: Path) -> None:
    for number, size in enumerate([(24, 16), (48, 32), (12, 8), (16, 24)]):
        save(tmp_path / f"{number}.png", number + 1, size)
    frames = read_clip(tmp_path, 4).frames
    assert frames.shape == (4, 3, 16, 24)
    assert numbers(frames) == [1, 2, 3, 4]


@pytest.mark.parametrize("short_side", [200, 128, 100, 64, 40, 31, 20])
def test_small_frames_are_decoded_small(tmp_path: Path, short_side: int) -> None:
    """JPEG at a reduced size against all pixels averaged: the tolerance that the docstring states."""
    picture = photograph()
    Image.fromarray(picture).save(tmp_path / "1.jpg", quality=95)
    whole = read_clip(tmp_path, 1).frames[0].transpose(1, 2, 0)
    small = read_clip(tmp_path, 1, short_side=short_side).frames[0].transpose(1, 2, 0)
    height, width = small.shape[:2]
    assert (height, width) == (short_side, round(340 * short_side / 256))
    expected = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(small - expected).mean() < 3.0


def test_the_reduced_size_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(photograph()).save(tmp_path / "1.jpg")
    kinds: list[int] = []
    decoder = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, kind: kinds.append(kind) or decoder(data, kind))
    for short_side in (None, 200, 128, 127, 64, 31, 16, 8):
        read_clip(tmp_path, 1, short_side=short_side)
    plain, half, quarter, eighth = (
        kind | cv2.IMREAD_IGNORE_ORIENTATION
        for kind in (
            cv2.IMREAD_COLOR,
            cv2.IMREAD_REDUCED_COLOR_2,
            cv2.IMREAD_REDUCED_COLOR_4,
            cv2.IMREAD_REDUCED_COLOR_8,
        )
    )
    assert kinds == [plain, plain, half, plain, quarter, quarter, eighth, eighth]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut off": cut,
    "empty": lambda _: b"",
    "not an image": lambda _: b"<html>",
    "header only": lambda content: content[:30],
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_the_part_before_a_broken_image_is_used(tmp_path: Path, how: str, suffix: str) -> None:
    for number in range(20):
        Image.fromarray(photograph((48, 32))).save(tmp_path / f"{number:03d}{suffix}")
    bad = tmp_path / f"012{suffix}"
    bad.write_bytes(BROKEN[how](bad.read_bytes()))
    path = str(tmp_path / f"%03d{suffix}")
    with pytest.raises(DamagedClip, match=f"012{suffix}") as damage:
        decode(path, np.array([5.0, 18.0, 12.0]) / FPS)
    assert damage.value.last_good_s == pytest.approx(11 / 30)
    with pytest.warns(ClipWarning, match=f"012{suffix}"):
        assert read_clip(path, 12).pts_s == pytest.approx(np.arange(12) / 30)
    with pytest.raises(ClipError, match="no image of the wanted part"):
        decode(path, np.array([15, 12]) / FPS)
    assert len(read_clip(path, 4, start_s=13 / FPS).frames) == 4


def test_the_good_part_ends_at_the_first_bad_image_even_if_that_one_was_not_asked_for(tmp_path: Path) -> None:
    path = series(tmp_path, list(range(20)))
    for number in (6, 12):
        (tmp_path / f"frame_{number:05d}.png").write_bytes(b"")
    with pytest.raises(DamagedClip, match=r"00006\.png is empty") as damage:
        decode(path, np.array([2, 10, 12]) / FPS)
    assert damage.value.last_good_s == pytest.approx(5 / 30)


def test_an_unusable_first_image_is_named(tmp_path: Path) -> None:
    for content, reason in ((b"", "is empty"), (b"GIF89a", "not an image")):
        (tmp_path / "1.jpg").write_bytes(content)
        images._probe.cache_clear()
        with pytest.raises(ClipError, match=rf"its first image cannot be used: 1\.jpg .*{reason}"):
            probe(tmp_path)


def test_nothing_there_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="cannot be opened"):
        probe(tmp_path / "none" / "frame_%05d.jpg")
    with pytest.raises(ClipError, match=r"without images.*is empty"):
        probe(tmp_path)
    save(tmp_path / "img_00001.png", 1)
    with pytest.raises(ClipError, match=r"no image in the folder is called so.*img_00001\.png"):
        probe(tmp_path / "frame_%05d.png")


def test_a_listing_is_kept_until_the_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = series(tmp_path, list(range(10)))
    os.utime(tmp_path, ns=(1, 1))
    listed: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scan(folder))
    for _ in range(3):
        read_clip(path, 4)
    assert listed == [str(tmp_path)]
    save(tmp_path / "frame_00010.png", 10)
    assert numbers(decode(path, np.array([9.0])).frames) == [10]


def test_only_wanted_images_are_read(tmp_path: Path) -> None:
    path = series(tmp_path, list(range(30)))
    for number in range(1, 30):
        if number != 17:
            (tmp_path / f"frame_{number:05d}.png").write_bytes(b"broken")
    assert numbers(decode(path, np.array([17, 17, 0]) / FPS).frames) == [17, 17, 0]


def test_a_long_sequence_takes_little_memory() -> None:
    """100,000 numbers in a row are one run, and no table of times is kept."""
    found = images._Series(np.zeros(1, np.int64), np.array([99_999]), "frame_%010d.jpg")
    assert len(found) == 100_000
    assert found.starts.nbytes + found.ends.nbytes == 16
    assert found.file(42) == "frame_0000000042.jpg"


@pytest.mark.parametrize(
    ("name", "is_pattern"),
    [
        ("a/frame_%010d.jpg", True),
        ("%d.PNG", True),
        ("100%%_%05d.webp", True),
        ("a_%d.mp4", False),
        ("100%.jpg", False),
        ("%d_%d.jpg", False),
        ("a%d/frame.jpg", False),
        ("%%d.jpg", False),
        ("a.jpg", False),
    ],
)
def test_what_is_a_pattern(name: str, is_pattern: bool) -> None:
    assert images.handles(name) == is_pattern


def test_colours_stay_side_by_side(tmp_path: Path) -> None:
    path = series(tmp_path, list(range(6)))
    for order in ([0, 1, 2], [3, 3, 1]):
        frames = decode(path, np.array(order) / FPS).frames
        assert frames.transpose(0, 2, 3, 1).flags.c_contiguous


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_headers_of_anything_end(content: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"):
        size = size_of(start + content)
        assert size is None or (size[0] > 0 and size[1] > 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + b"\xff\xd9\xff\xc0" * 500}])
def test_sizes_from_headers(kind: str, options: dict[str, object]) -> None:
    file = io.BytesIO()
    Image.new("RGB", (37, 21)).save(file, kind, **options)
    assert size_of(file.getvalue()) == (37, 21)
    assert size_of(file.getvalue()[:12]) is None


def test_real_frame_folders(shared: Path) -> None:
    folders = sorted((shared / "data/ssv2-mini/videos").iterdir())[:5]
    folders += sorted((shared / "data/frame-folders").glob("*/*/*/0001"))[:2]
    folders += sorted((shared / "data/frame-folders/ucf101-release/images_class1").iterdir())[:1]
    for folder in folders:
        files = sorted(folder.glob("*.jpg"))
        info = probe(folder)
        assert info.packets == len(files)
        clip = read_clip(folder, 5)
        for pts_s, frame in zip(clip.pts_s, clip.frames, strict=True):
            expected = np.array(Image.open(files[round(pts_s * FPS)]).convert("RGB"))
            assert np.array_equal(frame.transpose(1, 2, 0), expected)


def test_a_copied_real_folder_by_pattern(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/ssv2-mini/videos/77005"
    for file in sorted(source.glob("*.jpg"))[9:20]:
        shutil.copy(file, tmp_path / file.name)
    by_pattern = read_clip(tmp_path / "%04d.jpg", 3, start_s=12 / FPS, end_s=15 / FPS)
    by_place = decode(source, np.array([11, 12, 13]) / FPS)
    assert by_pattern.pts_s == pytest.approx(np.array([12, 13, 14]) / FPS)
    assert np.array_equal(by_pattern.frames, by_place.frames)
