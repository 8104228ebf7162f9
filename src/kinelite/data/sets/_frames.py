"""What sets of image folders share: how the images of a folder are numbered, and parts by frame number.

`kinelite.data.readers.images` reads them; it brings OpenCV along, which naming a set must not.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from itertools import islice

from kinelite.errors import DataError

FPS = 30.0
"""Images per second, as in `kinelite.data.readers.images`."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
LAST_FRAME = 10**9
"""Frame numbers are below this."""
_LOOK_AT = 1000
_NUMBERED = re.compile(r"(?P<stem>.*?)(?P<number>[0-9]+)(?P<suffix>\.[A-Za-z]+)")


def image_sequence(folder: str | os.PathLike[str]) -> str | None:
    """Path of the folder's images as a pattern in FFmpeg's sense, such as 'P01_01/frame_%010d.jpg'; None without any.

    The first thousand names decide, so that a folder of 200,000 images is not listed. Where colour and flow images lie
    together, those called img, image or frame count. Raises DataError for a folder that cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, _LOOK_AT)]
    except OSError as error:
        raise DataError(f"{os.fspath(folder)} cannot be listed: {error.strerror}.") from error
    kinds: Counter[str] = Counter(filter(None, map(_kind, names)))
    if not kinds:
        return None
    colour = [kind for kind in kinds if kind.lower().startswith(("img", "image", "frame"))]
    best = min(colour or kinds, key=lambda kind: (-kinds[kind], kind))
    return os.path.join(folder, best)


def is_image(name: str) -> bool:
    """Whether a file is called like an image that can be read."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_numbered(name: str) -> bool:
    """Whether an image's name ends in a number."""
    return _kind(name) is not None


def _kind(name: str) -> str | None:
    match = _NUMBERED.fullmatch(name)
    if match is None or not is_image(name) or name.startswith("."):
        return None
    digits = len(match["number"])
    # Without leading zeros in sight, 7.jpg and 12.jpg are both '%d'.
    width = f"0{digits}" if match["number"].startswith("0") and digits > 1 else ""
    return f"{match['stem'].replace('%', '%%')}%{width}d{match['suffix']}"


def frame_part(where: str, first: int, last: int) -> tuple[float, float]:
    """Beginning and end in seconds of the images ``first`` to ``last``, both included.

    Raises DataError when the last comes before the first.
    """
    if last < first:
        raise DataError(f"{where}: the last frame {last} comes before the first, {first}.")
    return first / FPS, (last + 1) / FPS
