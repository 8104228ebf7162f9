"""A clip as one picture: a few frames side by side, so that a report needs no decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kinelite.data.augment import resize
from kinelite.data.dataset import read_row
from kinelite.data.manifest import Row
from kinelite.data.sampling import sparse_times
from kinelite.data.sink import Whole
from kinelite.records import replace_bytes

FRAMES = 8
HEIGHT = 96


def write_strip(row: Row, out: Path, name: str) -> str:
    """Write ``strips/NAME.jpg`` under ``out`` and return that relative path."""
    import cv2

    whole = Whole()
    read_row(row, lambda start_s, end_s, _: sparse_times(start_s, end_s, FRAMES), whole)
    frames = resize(whole.channels_first, HEIGHT, "squash")
    picture = np.concatenate(list(frames.transpose(0, 2, 3, 1)), axis=1)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    relative = f"strips/{name}.jpg"
    replace_bytes(out / relative, encoded.tobytes())
    return relative
