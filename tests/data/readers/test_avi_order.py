"""MPEG-4 in AVI: the order of display worked out from packets, and B-pictures left out where nobody wants them."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinelite.data.decode import decode, probe, read_clip
from kinelite.data.readers import video
from kinelite.data.readers.avi_order import LineUp, droppable, picture_types, places

INTRA, P, B = (b"\0\0\1\xb6" + bytes([kind << 6]) + b"picture" for kind in (0, 1, 2))
FILLER = b"\0\0\1\xb6\x50\x00"  # a P-picture that says 'not coded'


def write_avi(path: Path, frames: int, b_frames: int) -> Path:
    """Frame i has the grey level 4 * i, so that every frame is known from its pixels."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "mpeg4", rate=25, options={"bf": str(b_frames), "g": "20", "qmin": "1", "qmax": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), 4 * i, np.uint8), "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbers(path: Path, places: list[int]) -> list[int]:
    frames = decode(path, (np.array(places) + 0.5) / 25).frames
    return [round(float(frame.mean()) / 4) for frame in frames]


def test_pictures_in_a_packet() -> None:
    assert picture_types(INTRA) == [0]
    assert picture_types(b"header" + P + B) == [1, 2]
    assert picture_types(b"") == picture_types(b"\0\0\1") == picture_types(b"\0\0\1\xb6") == []


@pytest.mark.parametrize(
    ("packets", "order"),
    [
        ([INTRA, P, P], [0, 1, 2]),
        ([INTRA, P, B, P, B, B], [0, 2, 1, 5, 3, 4]),
        ([INTRA, P + B, FILLER, P + B, FILLER], [0, 2, 1, 4, 3]),
        ([INTRA, b"\x7f", P + B, B, FILLER, P], [0, -1, 3, 1, 2, 4]),
        ([], []),
    ],
)
def test_order_of_display(packets: list[bytes], order: list[int]) -> None:
    assert places(packets).tolist() == order


@given(st.lists(st.integers(0, 3), max_size=40))
def test_places_are_a_permutation_and_only_b_pictures_overtake(kinds: list[int]) -> None:
    order = places([b"\0\0\1\xb6" + bytes([kind << 6]) for kind in kinds])
    assert sorted(order.tolist()) == list(range(len(kinds)))
    first_anchor = next((i for i, kind in enumerate(kinds) if kind != 2), len(kinds))
    assert droppable(order) == [kind == 2 and i > first_anchor for i, kind in enumerate(kinds)]


def test_line_up_without_what_nobody_wants() -> None:
    order = places([INTRA, P, B, B, P, B, P])  # shown as I B B P B P P
    line_up = LineUp(order, {4}, decoded=1)
    assert [line_up.needed() for _ in range(6)] == [True, False, False, True, True, True]
    assert [line_up.place(is_b) for is_b in (False, False, True)] == [0, 3, 4]
    assert line_up.place(True) is None
    assert not line_up.complete
    assert LineUp(order[:0], set(), 0).complete
    assert LineUp(order[:0], set(), 0).place(False) is None


@pytest.mark.parametrize("b_frames", [1, 2])
def test_every_choice_gives_the_right_frames(tmp_path: Path, b_frames: int) -> None:
    path = write_avi(tmp_path / "a.avi", 50, b_frames)
    info = probe(path)
    assert info.counted
    assert info.order is not None
    rng = np.random.default_rng(0)
    for _ in range(20):
        picks = sorted(rng.choice(50, size=int(rng.integers(1, 8)), replace=False).tolist())
        assert numbers(path, picks) == picks
    assert numbers(path, list(range(50))) == list(range(50))
    assert numbers(path, [49, 3, 3, 99]) == [49, 3, 3, 49]


def test_fewer_frames_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_avi(tmp_path / "a.avi", 60, 2)
    seen: list[float] = []
    see = video._Pass._see
    monkeypatch.setattr(video._Pass, "_see", lambda self, frame: seen.append(frame.pts) or see(self, frame))
    read_clip(path, 3)
    assert len(seen) < 30


@pytest.mark.parametrize("change", ["reversed", "shifted", "short", "long"])
def test_a_wrong_order_is_noticed(tmp_path: Path, change: str) -> None:
    """Whatever the packets seem to say, what comes out of the decoder decides."""
    info = probe(path := write_avi(tmp_path / "a.avi", 40, 2))
    assert info.order is not None
    wrong = {
        "reversed": info.order[::-1].copy(),
        "shifted": np.roll(info.order, 1),
        "short": places([INTRA, P, B, B, P]),
        "long": places([INTRA] + [P, B, B] * 30),
    }[change]
    times = (np.array([1, 11, 22, 39]) + 0.5) / 25
    right = decode(path, times, dataclasses.replace(info, order=None))
    found = decode(path, times, dataclasses.replace(info, order=wrong))
    assert np.array_equal(found.frames, right.frames)
    assert np.array_equal(found.pts_s, right.pts_s)


def test_real_files(shared: Path) -> None:
    """DivX packs two pictures into one packet; every third clip of UT-Interaction against decoding everything."""
    files = sorted((shared / "data/ut-interaction").glob("set*/*/*.avi"))[::12]
    files += sorted((shared / "data/known-labels").glob("*_wave_*.avi"))
    for path in files:
        info = probe(path)
        assert info.order is not None
        times = np.sort(np.random.default_rng(1).uniform(info.start_s, info.end_s, 9))
        quick = decode(path, times, info)
        plain = decode(path, times, dataclasses.replace(info, order=None))
        assert np.array_equal(quick.frames, plain.frames), path
        assert np.array_equal(quick.pts_s, plain.pts_s), path
