"""The dispatch: which reader takes a path, and what all of them have in common."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kinelite.data import decode as decoding
from kinelite.data.decode import READERS, ClipError, ClipWarning, Reader, decode, read_clip, reader
from kinelite.data.readers import images, video
from kinelite.errors import UsageError


@pytest.mark.parametrize(
    ("name", "module"),
    [("a.mp4", video), ("a.avi", video), ("frame_%05d.jpg", images), ("a%d.mp4", video), ("none/at/all", video)],
)
def test_who_reads_what(name: str, module: object) -> None:
    assert reader(name) is module


def test_a_folder_is_images(tmp_path: Path) -> None:
    assert reader(tmp_path) is images


@pytest.mark.parametrize("name", READERS)
def test_readers_keep_the_contract(name: str) -> None:
    module = __import__(f"kinelite.data.readers.{name}", fromlist=["probe"])
    assert isinstance(module, Reader)


def test_a_picture_that_does_not_fit_into_memory_is_that_clips_problem(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError

    path = clip_folder / "moves_right" / "0.mp4"
    monkeypatch.setattr(decoding, "reader", lambda _: SimpleNamespace(probe=video.probe, decode=too_large))
    with pytest.raises(ClipError, match=r"does not fit into memory \(2 frames of 32 x 32 pixels\)"):
        decode(path, np.zeros(2))


@pytest.mark.parametrize("times", [[], [np.nan], [0.0, np.inf]])
def test_times_are_finite_numbers(clip_folder: Path, times: list[float]) -> None:
    with pytest.raises(UsageError, match="one or more finite numbers"):
        decode(clip_folder / "moves_right" / "0.mp4", np.array(times))


def test_a_window_longer_than_the_good_part_of_a_damaged_clip_ends_with_it(shared: Path) -> None:
    path = shared / "data" / "awkward" / "decord" / "corrupted.mp4"
    if not path.is_file():
        pytest.skip("the damaged clip is not there")
    with pytest.warns(ClipWarning, match="instead of"):
        clip = read_clip(path, 16, sampling="dense", stride=3)
    assert len(clip.frames) == 16
    assert clip.pts_s.max() == pytest.approx(2.7, abs=1e-3), "the last good frame repeats"
