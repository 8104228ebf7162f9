"""How much disk and time stored features take, before any of it is taken."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from kinelite.data.dataset import Key as ClipKey
from kinelite.data.dataset import read_sample
from kinelite.data.decode import decoding_with
from kinelite.data.manifest import Manifest
from kinelite.data.prepare.estimate import PATIENCE_S, free_bytes, spread
from kinelite.errors import DataError, SetupError
from kinelite.models import Factorised
from kinelite.records import cores
from kinelite.train.features.distinct import views_to_encode
from kinelite.train.features.key import Key
from kinelite.train.features.store import FeatureStore, record_bytes

if TYPE_CHECKING:
    from kinelite.train.features.extract import Means

GIB = 2**30
OVERHEAD = 1.01
"""Headers, checksums and the list of clips, as a factor on the records."""


@dataclass(frozen=True)
class Estimate:
    """What a store takes, judging by a few of its clips."""

    bytes: int
    """Of the whole store."""
    decode_s: float
    """Seconds that reading all views of one clip takes one process."""
    encode_s: float
    """Seconds that encoding them takes."""
    clips: int
    """Clips that are to be made."""
    workers: int

    @property
    def seconds(self) -> float:
        """Of the whole pass: reading runs beside the encoder where there are processes for it."""
        if not self.workers:
            return self.clips * (self.decode_s + self.encode_s)
        return self.clips * max(self.decode_s / min(self.workers, cores()), self.encode_s)

    def __str__(self) -> str:
        size = f"{self.bytes / GIB:.2f} GiB" if self.bytes > GIB / 10 else f"{self.bytes / 2**20:.1f} MiB"
        took = f"{self.seconds:.0f} s" if self.seconds < 90 else f"{self.seconds / 60:.0f} minutes"
        return (
            f"{size} and about {took} ({1000 * self.decode_s:.0f} ms to read a clip's views, "
            f"{1000 * self.encode_s:.0f} ms to encode them)"
        )


def store_bytes(key: Key) -> int:
    """Bytes of a store on the disk."""
    return int(OVERHEAD * key.clips * key.views * record_bytes(key))


def estimate(
    model: Factorised, manifest: Manifest, key: Key, means: Means, clips: int | None = None, patience_s: float = 10.0
) -> Estimate:
    """Read and encode a few clips, spread over the set, for at most ``patience_s`` seconds (one clip in any case).

    ``clips``: how many are to be made (default: all). Raises DataError when none of the sample can be decoded.
    """
    from kinelite.train.features.extract import encoder_of, reading_of, still

    reading = replace(reading_of(key, means.decoder), remember=False)
    encode, began, reason = encoder_of(model, key, means), time.monotonic(), ""
    read_s, encoded_s = [], []
    with decoding_with(reading.decoder):
        for row in spread(manifest.rows):
            started = time.perf_counter()
            sample = read_sample(row, ClipKey(0, 0), reading)
            if sample.frames is None:
                reason = sample.problem or ""
                continue
            read_s.append(time.perf_counter() - started)
            views = views_to_encode(torch.from_numpy(sample.frames), key.tubelet)
            frames = torch.from_numpy(sample.frames[None, :1])
            with still(model):
                if not encoded_s:
                    encode(frames)  # the first time is no measure: kernels are chosen, memory is asked for
                started = time.perf_counter()
                encode(frames).cpu()
            del sample, frames  # a long clip is large
            encoded_s.append((time.perf_counter() - started) * views)
            if time.monotonic() - began > min(patience_s, PATIENCE_S):
                break
    if not read_s:
        raise DataError(f"None of the clips that were tried can be decoded, such as {reason}")
    count = key.clips if clips is None else clips
    decode_s, encode_s = sum(read_s) / len(read_s), sum(encoded_s) / len(encoded_s)
    return Estimate(store_bytes(key), decode_s, encode_s, count, means.workers)


def check_room(store: FeatureStore, missing: int, max_disk_gib: float = 0.0) -> None:
    """Raise SetupError when ``missing`` blocks do not fit on the disk, or the store into ``max_disk_gib`` (0: any).

    The message names the largest number of views that fits.
    """
    key = store.key
    whole = store_bytes(key)
    if max_disk_gib and whole > max_disk_gib * GIB:
        room = f"more than the {max_disk_gib:g} GiB that are allowed (--features.max-disk-gib)"
        raise SetupError(_too_large(key, whole, room, max_disk_gib * GIB))
    todo = min(whole, missing * store.layout.clips_per_block * key.views * record_bytes(key))
    free = free_bytes(store.folder)
    if todo > free:
        room = f"and '{store.folder}' has {free / GIB:.2f} GiB free"
        raise SetupError(_too_large(key, whole, room, free + whole - todo))


def _too_large(key: Key, whole: int, room: str, limit: int | float) -> str:
    views = int(limit / (whole / key.views))
    advice = f"{views} views fit: --features.views {views}" if views else "Not even one view fits: choose another disk"
    return (
        f"Features of {key.clips} clips with {key.views} views take {whole / GIB:.2f} GiB, {room}. {advice}, fewer "
        "--features.phases, or --features.mode online."
    )
