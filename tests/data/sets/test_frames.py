"""Numbered images: patterns, and folders of them as clips of ``folder:``."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinelite.data.readers import images
from kinelite.data.sets import _frames, load_set
from kinelite.data.sets._frames import frame_part, image_sequence
from kinelite.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_the_clock_and_the_suffixes_are_those_of_the_reader() -> None:
    assert (_frames.FPS, _frames.IMAGE_SUFFIXES) == (images.FPS, images.SUFFIXES)
    assert frame_part("x", 3, 5) == (3 / images.FPS, 6 / images.FPS)
    with pytest.raises(DataError, match="x: the last frame 2 comes before the first, 3"):
        frame_part("x", 3, 2)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["frame_0000000001.jpg", "frame_0000000002.jpg"], "frame_%010d.jpg"),
        (["0001.png"], "%04d.png"),
        (["7.jpg", "12.jpg"], "%d.jpg"),
        (["100%_01.jpg"], "100%%_%02d.jpg"),
        (["flow_x_01.jpg", "flow_x_02.jpg", "img_01.jpg", "flow_y_01.jpg"], "img_%02d.jpg"),
        (["thumb1.jpg", "01.jpg", "02.jpg", "notes.txt", ".hidden_01.jpg"], "%02d.jpg"),
        (["notes.txt", "cover.jpg"], None),
        ([], None),
    ],
)
def test_image_sequences(tmp_path: Path, names: list[str], expected: str | None) -> None:
    found = image_sequence(touch(tmp_path / "clip", *names))
    assert found == (None if expected is None else str(tmp_path / "clip" / expected))
    assert found is None or images.handles(found)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none cannot be listed: No such file"):
        image_sequence(tmp_path / "none")


def test_a_folder_of_numbered_images_is_a_clip(tmp_path: Path) -> None:
    for cls in ("jump", "run"):
        for clip in ("1", "person/2", "3"):
            touch(tmp_path / cls / clip, "0001.jpg", "0002.jpg", "boxes.json")
        touch(tmp_path / cls, "a.mp4")
    touch(tmp_path / "run/pictures", "cover.jpg", "0001.jpg")
    touch(tmp_path / "run/mixed", "0001.jpg", "b.mp4")
    touch(tmp_path / "run", "0001.jpg")
    found = load_set(f"folder:{tmp_path}")
    names = [Path(row.path).relative_to(tmp_path).as_posix() for row in found.rows]
    each = ["1", "3", "a.mp4", "person/2"]
    assert sorted(names) == sorted([f"{cls}/{n}" for cls in ("jump", "run") for n in each] + ["run/mixed/b.mp4"])
    assert "Left out: 4 files that are not video (4 .jpg)." in found.notes


def test_split_folders_may_hold_folders_of_images(tmp_path: Path) -> None:
    for side in ("train", "val"):
        for cls in "xy":
            touch(tmp_path / side / cls / "1", "1.png")
    assert load_set(f"folder:{tmp_path}").splits() == {"train": 2, "val": 2}


def test_real_frame_folders(shared: Path) -> None:
    found = load_set(f"folder:{shared / 'data/frame-folders/raivokoot/demo_dataset'}")
    assert (found.classes, len(found.rows)) == (("jumping", "running"), 4)
