"""Frames as the picker hands them on: their place in memory, and the same pixels as PyAV's own conversion."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from kinelite.data.decode import decode, probe, read_clip

ORDERS = {"forward": [0, 5, 11], "repeated": [3, 3, 8], "unordered": [9, 2, 2, 7]}


@pytest.fixture
def path(clip_folder: Path) -> Path:
    return clip_folder / "moves_right" / "0.mp4"


def side_by_side(frames: np.ndarray) -> bool:
    """Whether the three colours of a pixel lie next to each other: OpenCV then takes each frame without a copy."""
    return frames.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("short_side", [None, 16])
@pytest.mark.parametrize("order", ORDERS)
def test_colours_stay_side_by_side(path: Path, order: str, short_side: int | None) -> None:
    info = probe(path)
    frames = decode(path, np.array(ORDERS[order]) * info.period_s, info, short_side=short_side).frames
    assert frames.shape == (len(ORDERS[order]), 3, short_side or 32, short_side or 32)
    assert side_by_side(frames)


def test_a_rotated_clip_is_laid_out_like_any_other(shared: Path) -> None:
    frames = read_clip(shared / "data/awkward/decord/video_90.mov", 2).frames
    assert frames.shape == (2, 3, 568, 320)
    assert side_by_side(frames)


def test_one_converter_for_all_frames_gives_what_each_frame_alone_gives(path: Path) -> None:
    with av.open(str(path)) as container:
        expected = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    frames = read_clip(path, len(expected)).frames
    assert len({frame.tobytes() for frame in expected}) == len(expected)
    assert np.array_equal(frames.transpose(0, 2, 3, 1), expected)
