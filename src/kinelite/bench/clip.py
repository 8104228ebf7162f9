"""Reading one clip again and again, for the modes that begin at a file."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from kinelite.bench.case import Case
from kinelite.bench.devices import Unsupported
from kinelite.data.dataset import Key, Reading, read_sample
from kinelite.data.manifest import Row
from kinelite.data.motion_scene import draw_scene, encode, render
from kinelite.types import InputSpec

FRAMES, SIZE = 128, 256
"""Of the clip that is drawn when none is given: about what is left of a Kinetics clip that was scaled down to 256."""


def reader(case: Case, spec: InputSpec) -> Callable[[], UInt8[np.ndarray, "1 c t h w"]]:
    """A call that reads the test sample of the case's clip, or of a drawn one, as if it had never been seen.

    Raises `Unsupported` with the reason when the clip cannot be read.
    """
    cv2.setNumThreads(0)
    path = case.clip or drawn_clip()
    row, reading = Row(path, (0,), "test"), Reading(spec, remember=False)

    def read() -> UInt8[np.ndarray, "1 c t h w"]:
        sample = read_sample(row, Key(0, 0), reading)
        if sample.frames is None:
            raise Unsupported(sample.problem or f"{path} cannot be read")
        return sample.frames

    read()
    return read


def drawn_clip() -> str:
    """An H.264 clip of the built-in motion set, drawn at a usual size, in the folder for temporary files."""
    folder = tempfile.mkdtemp(prefix="kinelite-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "drawn.mp4"
    path.write_bytes(encode(render(draw_scene("moves_right", np.random.default_rng(0)), FRAMES, SIZE)))
    return str(path)
