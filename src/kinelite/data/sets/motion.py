"""The built-in set: real H.264 clips, made on the spot, whose classes differ in motion and in nothing else.

What a clip shows, and why a single frame says nothing about its class, stands in ``kinelite.data.motion_scene``,
which is imported late because it brings OpenCV and PyAV along.
Licence: made by this code, so under its licence. Classes: 10. Clips: as many as asked, 640 by default, of 48 frames
each or as many as asked: a longer clip shows the same speed for longer.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from kinelite.config import SplitConfig
from kinelite.data.cache import build_once
from kinelite.data.manifest import Manifest, Row
from kinelite.data.sets import SetOptions, register_set
from kinelite.errors import DataError, UsageError

DEFAULT_CLIPS = 640
SEED = 2026

Progress = Callable[[int, int], None]
"""Called with (clips made, clips in all) in the calling thread."""

# Every fourth clip of a class is held out by its number alone: a smaller set is part of a larger one, and no clip
# changes sides between them.
_HOLD_OUT = 4


@register_set(
    "motion",
    spec="motion[:N[xF]]",
    summary="built-in: N synthetic clips (640) of F frames (48), 10 classes of motion",
)
def motion(root: str, split: SplitConfig, options: SetOptions) -> Manifest:
    """The manifest of ``motion``, ``motion:N`` or ``motion:NxF``; makes the clips where the cache lacks them.

    Raises UsageError for an N or F that is not a number or too small and for split options, which this set does not
    take; SetupError when the cache cannot be written; DataError when clips were taken out of it.
    """
    from kinelite.data.motion_scene import MOTIONS

    clips, frames = _counts(root, len(MOTIONS))
    if split != SplitConfig():
        raise UsageError(
            "The set 'motion' brings its own split (every fourth clip of a class is held out), so the --split options "
            "do not apply to it. Leave them out, or copy the clips and use folder:ROOT."
        )
    folder = make_motion(clips, frames=frames)
    rows = tuple(_row(folder, number, tuple(MOTIONS)) for number in range(clips))
    missing = sum(not Path(row.path).is_file() for row in rows)
    if missing:
        raise DataError(f"{missing} of {clips} clips are gone from {folder}. Delete that folder and it is made again.")
    note = "Split by construction: every fourth clip of a class is held out. The clips are independent draws."
    # The policy without flips, which would turn moves_right into moves_left.
    return Manifest("motion", {"label": tuple(MOTIONS)}, rows, policy="lightweight_ssv2", notes=(note,))


def make_motion(clips: int = DEFAULT_CLIPS, progress: Progress | None = None, frames: int | None = None) -> Path:
    """Folder with the clips as {train,val}/CLASS/NUMBER.mp4, made first where the cache lacks it.

    Raises SetupError when the cache cannot be written.
    """
    from kinelite.data.motion_scene import FRAMES, parameters

    length = "" if frames in (None, FRAMES) else f"x{frames}"
    digest = hashlib.sha256(f"{parameters()} {SEED} {clips}{length}".encode()).hexdigest()[:10]
    return build_once(
        f"motion-{clips}{length}-{digest}", lambda folder: _make(folder, clips, frames or FRAMES, progress)
    )


def unseen_clips(count: int) -> tuple[list[Path], list[str]]:
    """``count`` clips that are in no ``motion`` set, for trying out a model, and their true classes.

    Raises SetupError when the cache cannot be written.
    """
    from kinelite.data.motion_scene import FRAMES, MOTIONS, parameters

    classes = tuple(MOTIONS)
    # Every third class, so that a few clips show different kinds of motion.
    labels = [classes[3 * number % len(classes)] for number in range(count)]
    digest = hashlib.sha256(f"{parameters()} {SEED + 1} {labels}".encode()).hexdigest()[:10]

    def make(folder: Path) -> None:
        for number, label in enumerate(labels):
            _write(folder / f"unseen-{number}.mp4", label, (SEED + 1, number), FRAMES)

    folder = build_once(f"motion-unseen-{count}-{digest}", make)
    return [folder / f"unseen-{number}.mp4" for number in range(count)], labels


def _make(folder: Path, clips: int, frames: int, progress: Progress | None) -> None:
    from kinelite.data.motion_scene import MOTIONS

    classes = tuple(MOTIONS)
    rows = [_row(folder, number, classes) for number in range(clips)]
    for parent in {Path(row.path).parent for row in rows}:
        parent.mkdir(parents=True)
    # Threads are enough: drawing and coding leave the interpreter lock for most of their time.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        tasks = [
            pool.submit(_write, Path(row.path), classes[row.labels[0]], (SEED, number), frames)
            for number, row in enumerate(rows)
        ]
        try:
            for made, task in enumerate(as_completed(tasks), start=1):
                task.result()
                if progress is not None:
                    progress(made, clips)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write(path: Path, motion: str, seed: tuple[int, int], frames: int) -> None:
    import numpy as np

    from kinelite.data.motion_scene import draw_scene, encode, lengthened, render

    scene = draw_scene(motion, np.random.default_rng(seed))
    path.write_bytes(encode(render(lengthened(scene, frames), frames)))


def _row(folder: Path, number: int, classes: tuple[str, ...]) -> Row:
    """The classes take turns, so that their sizes differ by one clip at most."""
    index, label = divmod(number, len(classes))
    split = "val" if index % _HOLD_OUT == _HOLD_OUT - 1 else "train"
    return Row(path=str(folder / split / classes[label] / f"{index:05d}.mp4"), labels=(label,), split=split)


def _counts(root: str, classes: int) -> tuple[int, int]:
    """Clips and frames per clip of 'N', 'NxF' or ''."""
    from kinelite.data.motion_scene import FRAMES

    fewest = 2 * _HOLD_OUT * classes
    if not root:
        return DEFAULT_CLIPS, FRAMES
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", root, re.ASCII)
    if not found:
        raise UsageError(
            f"motion:{root} is not understood: what follows the colon is the number of clips, at least {fewest}, and, "
            f"after an x, of frames per clip. Try motion, motion:{fewest} or motion:{fewest}x128."
        )
    clips, frames = int(found[1]), int(found[2] or FRAMES)
    if clips < fewest:
        raise UsageError(
            f"motion:{root} is too small: {classes} classes with two held-out clips each, which are every fourth, "
            f"need at least {fewest}. Try motion:{fewest}."
        )
    if frames < 2:
        raise UsageError(f"motion:{root}: a clip with a motion has at least 2 frames. Try motion:{clips}x{FRAMES}.")
    return clips, frames
