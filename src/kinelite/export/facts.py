"""What an exported file says of itself: enough to use it without the run that it came from, and to check it."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import UInt8

from kinelite.export import damaged
from kinelite.records import plain
from kinelite.types import InputSpec

KEY = "kinelite"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The header of an exported file. Its input is a normalised video, fp32 ``[batch, 3, frames, size, size]``."""

    model: str
    precision: str
    spec: InputSpec
    """Frames, pixels, normalisation and sampling."""
    tasks: dict[str, tuple[str, ...]]
    """Task -> class names, in the order of its logits; outputs are in the order of the tasks."""
    batch: int = 1
    """Clips of a call."""
    state: tuple[tuple[int, ...], ...] = ()
    """Of a stream: shapes of what a call takes beside a frame ``[batch, 3, size, size]`` and gives back after the
    logits; zeros before the first frame."""
    source: str = ""
    """The run, weight file or weights that it was made from; 'random weights'."""
    kinelite: str = ""
    """Version that wrote it."""
    gmacs: float | None = None
    """Of one clip, as PyTorch computes it."""
    params_m: float | None = None
    golden_clip: str = ""
    """Pixels of a clip, uint8 ``[3, frames, size, size]``: compressed by zlib, in base 64."""
    golden_logits: dict[str, list[float]]
    """Task -> logits of PyTorch in fp32 for that clip."""
    calibrated_with: str = ""
    """Which clips an int8 file was calibrated with."""


def to_text(facts: Facts) -> str:
    """As JSON in a line."""
    return json.dumps(plain(facts), ensure_ascii=True)


def from_text(text: str, path: Path) -> Facts:
    """From what `to_text` made. Raises UsageError for anything else."""
    if not text:
        raise damaged(path, "it was not written by kinelite export")
    try:
        facts = msgspec.convert(json.loads(text), Facts)
        golden_clip(facts)
    except (ValueError, zlib.error) as error:
        raise damaged(path, f"its header does not fit: {error}") from error
    return facts


def packed(clip: UInt8[np.ndarray, "c t h w"]) -> str:
    """Pixels as text."""
    return base64.b64encode(zlib.compress(clip.tobytes(), 9)).decode()


def golden_clip(facts: Facts) -> UInt8[np.ndarray, "c t h w"]:
    """The pixels that the golden logits are of."""
    shape = (3, facts.spec.frames, facts.spec.size, facts.spec.size)
    pixels = zlib.decompress(base64.b64decode(facts.golden_clip))
    return np.frombuffer(bytearray(pixels), np.uint8).reshape(shape)


def fields_of(facts: Facts) -> dict[str, Any]:
    """What a record of the file repeats."""
    return {"gmacs": facts.gmacs, "params_m": facts.params_m}
