"""The pass that fills a store: a frozen encoder over all views of all clips, continued after any kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kinelite.data.crew import LIMIT_S
from kinelite.data.manifest import Manifest
from kinelite.models import Factorised
from kinelite.train.features.key import Key
from kinelite.train.features.store import FeatureStore

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all) in the calling thread."""


@dataclass(frozen=True)
class Means:
    """How a pass works; none of it changes what is stored, beyond rounding."""

    device: str = "cpu"
    workers: int = 0
    decoder: str = "pyav"
    limit_s: float = LIMIT_S
    chunk_frames: int = 0
    """Frames that the encoder sees at a time (0: chosen by their size)."""
    compile: bool = False
    max_disk_gib: float = 0.0
    """Largest store (0: what the disk has free)."""
    clips_per_block: int = 0
    """0: chosen by size and number of the clips."""


def extract(
    model: Factorised,
    manifest: Manifest,
    key: Key,
    folder: Path,
    means: Means = Means(),
    progress: Progress | None = None,
    stop: Callable[[], str] = str,
) -> FeatureStore:
    """The whole store of ``key`` in ``folder``: opened when it is there, continued when it is unfinished, else made.

    Several processes may fill one folder at once. ``stop`` is asked between clips and ends the pass with Interrupted
    when it names a reason (a signal); what is finished stays. Raises UsageError when the folder holds other features,
    SetupError when the disk is or would be full, DataError when no clip can be decoded.
    """
    raise NotImplementedError
