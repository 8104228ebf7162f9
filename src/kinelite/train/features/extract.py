"""The pass that fills a store: a frozen encoder over all views of all clips, continued after any kill."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from kinelite.data.crew import LIMIT_S
from kinelite.data.dataset import ClipDataset, Reading, Sample, Stored
from kinelite.data.dataset import Key as ClipKey
from kinelite.data.decode import decoding_with
from kinelite.data.loader import uncopied
from kinelite.data.manifest import Manifest
from kinelite.data.pool import Pool
from kinelite.errors import DataError, RunError
from kinelite.models import Factorised
from kinelite.train.chunks import choose_pass_chunk
from kinelite.train.features.block import write_block
from kinelite.train.features.claims import Claims
from kinelite.train.features.distinct import encode_distinct
from kinelite.train.features.key import Key
from kinelite.train.features.room import check_room
from kinelite.train.features.store import FeatureStore, begin_store, missing_clips
from kinelite.train.interrupted import Interrupted

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all) in the calling thread."""

READ_BYTES = 2**28
"""Pixels of clips that are read and encoded at a time, in bytes; one clip may be more."""
LARGEST_ERROR = 0.2
"""Share of their length by which features in half precision may differ from those in fp32, far beyond rounding."""
WAIT_S = 0.2
"""Blocks that other processes hold are looked at this often."""
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Means:
    """How a pass works; none of it changes what is stored, beyond rounding."""

    device: str = "cpu"
    workers: int = 0
    decoder: str = "pyav"
    limit_s: float = LIMIT_S
    """Seconds for one view of a clip; a clip has so many for each of its views."""
    chunk_frames: int = 0
    """Frames that the encoder sees at a time (0: chosen for the device)."""
    compile: bool = False
    max_disk_gib: float = 0.0
    """Largest store (0: what the disk has free)."""
    clips_per_block: int = 0
    """0: chosen by size and number of the clips. Only a store that is begun takes it."""


def extract(
    model: Factorised,
    manifest: Manifest,
    key: Key,
    folder: Path,
    means: Means | None = None,
    progress: Progress | None = None,
    stop: Callable[[], str] = str,
) -> FeatureStore:
    """The whole store of ``key`` in ``folder``: opened when it is there, continued when it is unfinished, else made.

    Several processes may fill one folder at once; each returns when all of it is there. The model goes to the device of
    ``means``. ``stop`` is asked between clips and ends the pass with Interrupted when it names a reason (a signal);
    finished blocks stay. Raises UsageError when the folder holds other features, SetupError when the disk is or would
    be full, DataError when no clip can be decoded, RunError for features that ``key.precision`` cannot hold.
    """
    means = means or Means()
    with contextlib.closing(Claims(folder)) as claims:
        with claims.beginning():
            store = begin_store(folder, key, manifest, means.clips_per_block)
        missing = store.missing()
        if missing:
            check_room(store, len(missing), means.max_disk_gib)
            with still(model), contextlib.closing(_Pass(model, manifest, store, claims, means)) as running:
                running.fill(progress or _quiet, stop)
    problems = store.problems()
    if len(problems) == store.clips:
        raise DataError(f"None of {store.clips} clips can be decoded. The first: {problems[0]}")
    return store


class _Pass:
    """One process's part in filling a store."""

    def __init__(self, model: Factorised, manifest: Manifest, store: FeatureStore, claims: Claims, means: Means):
        self.store, self.claims = store, claims
        self.encode = encoder_of(model, store.key, means)
        self.exact = encoder_of(model, replace(store.key, compute="fp32"), replace(means, compile=False))
        self.proven = store.key.compute == "fp32"
        clips = ClipDataset(manifest, reading_of(store.key, means.decoder))
        self.shape = clips.reading.shape
        size = store.layout.clips_per_block
        self.at_once = min(size, max(1, READ_BYTES // _count(self.shape)))
        self.pin = means.device.startswith("cuda")
        limit_s = means.limit_s * store.views
        self.pool = Pool(clips, self.at_once, means.workers, limit_s) if means.workers else None
        self._read = self.pool.batches if self.pool else lambda keys: _here(clips, keys)
        self._claimed: deque[int] = deque()

    def fill(self, progress: Progress, stop: Callable[[], str]) -> None:
        """Make every block that nobody else makes, and wait for those that others do."""
        while missing := self.store.missing():
            made = False
            for block in self._blocks(missing, progress, stop):
                made = True
                self.claims.release(block)
            if not made and self.store.missing():
                _stop(stop, self.store)
                progress(self._done(), self.store.clips)
                time.sleep(WAIT_S)
        progress(self.store.clips, self.store.clips)

    def close(self) -> None:
        if self.pool:
            self.pool.close()

    def _blocks(self, missing: Iterable[int], progress: Progress, stop: Callable[[], str]) -> Iterator[int]:
        """Blocks as they are written. Reading runs ahead, so claims do too."""
        portions = self._read(self._keys(missing))
        done = self._done()
        for samples in portions:
            block = self._claimed.popleft()
            clips = self.store.layout.clips_of(block, self.store.clips)
            parts, problems = [], {}
            while True:
                _stop(stop, self.store)
                problems |= {sample.index - clips.start: sample.problem for sample in samples if sample.problem}
                done += len(samples)
                parts.append(self._features(samples))
                progress(done, self.store.clips)
                if sum(map(len, parts)) == len(clips):
                    break
                samples = next(portions)
            name = f"{self.store.key.digest()}.{block}"
            write_block(self.store.path(block), torch.cat(parts), problems, name)
            yield block

    def _keys(self, missing: Iterable[int]) -> Iterator[list[ClipKey]]:
        """What to read for each block that could be claimed, in the same portions whatever was interrupted."""
        for block in missing:
            if self.store.path(block).exists() or not self.claims.take(block):
                continue
            if self.store.path(block).exists():  # another process finished it just now
                self.claims.release(block)
                continue
            self._claimed.append(block)
            for left in self.store.folder.glob(f".{self.store.path(block).name}.*.tmp"):
                left.unlink(missing_ok=True)  # of a process that was killed while it wrote
            clips = self.store.layout.clips_of(block, self.store.clips)
            for start in range(clips.start, clips.stop, self.at_once):
                yield [ClipKey(0, index) for index in range(start, min(clips.stop, start + self.at_once))]

    def _features(self, samples: list[Sample]) -> Float[Tensor, "clips views m d"]:
        """Features of a portion, which is empty afterwards: long clips are large, and the next ones are read soon."""
        readable = torch.tensor([sample.frames is not None for sample in samples])[:, None, None, None]
        frames = self._together(samples)
        samples.clear()
        found = self.encode(frames).cpu()
        if not self.proven and readable.any():
            self._prove(frames[readable.flatten()][:1, :1], found[readable.flatten()][:1, :1])
        stored = torch.where(readable, found, 0.0).to(self.store.dtype)
        if not stored.isfinite().all():
            raise RunError(_beyond(found, self.store))
        return stored

    def _together(self, samples: list[Sample]) -> UInt8[Tensor, "clips views c t h w"]:
        alone = uncopied(samples, self.pin)
        if alone is not None:
            return alone
        # A clip that cannot be read keeps its place, so that the others are encoded in the same company each time.
        frames = torch.zeros((len(samples), *self.shape), dtype=torch.uint8, pin_memory=self.pin)
        for place, sample in enumerate(samples):
            if sample.frames is not None:
                frames.numpy()[place] = sample.frames
        return frames

    def _prove(self, frames: UInt8[Tensor, "1 1 c t h w"], found: Float[Tensor, "1 1 m d"]) -> None:
        """Compare the first features in half precision with those in fp32: there are processors and kernels on which
        they are wrong, and nobody would see it in what is stored."""
        exact = self.exact(frames).cpu()
        error = float((found - exact).norm() / exact.norm())
        if error > LARGEST_ERROR:
            raise RunError(
                f"Features in {self.store.key.compute} differ from those in fp32 by {100 * error:.0f} % on this "
                "machine, which is no rounding. Compute them in fp32 (kinelite train --precision fp32, kinelite "
                "features make --compute fp32)."
            )
        self.proven = True

    def _done(self) -> int:
        return self.store.clips - missing_clips(self.store.folder, self.store.key)


def encoder_of(
    model: Factorised, key: Key, means: Means
) -> Callable[[UInt8[Tensor, "clips views c t h w"]], Float[Tensor, "clips views m d"]]:
    """What computes the features of decoded views, as a store of ``key`` holds them, on the device of ``means``."""
    device = torch.device(means.device)
    model.to(device)
    forward: Any = torch.compile(model) if means.compile else model
    dtype = _TYPES.get(key.compute)
    chunk = choose_pass_chunk(means.chunk_frames, device, model.tubelet, key.spec.size)

    def encode(frames: UInt8[Tensor, "clips views c t h w"]) -> Float[Tensor, "clips views m d"]:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            return encode_distinct(forward, frames, key.spec, device, chunk)

    return encode


def reading_of(key: Key, decoder: str = "pyav") -> Reading:
    """How the clips of a store are read: all views of a clip at once."""
    stored = Stored(key.views, key.phases, key.tubelet)
    return Reading(key.spec, key.policy_name, seed=key.seed, decoder=decoder, stored=stored)


@contextlib.contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Evaluation mode while it lasts; then every module is as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _here(clips: ClipDataset, keys: Iterable[list[ClipKey]]) -> Iterator[list[Sample]]:
    def read(some: list[ClipKey]) -> list[Sample]:
        with decoding_with(clips.reading.decoder):
            return [clips[key] for key in some]

    return map(read, keys)


def _stop(stop: Callable[[], str], store: FeatureStore) -> None:
    if why := stop():
        blocks = store.layout.blocks(store.clips)
        kept = blocks - len(store.missing())
        raise Interrupted(
            f"Stopped by {why}; {kept} of {blocks} blocks of features are kept in '{store.folder}'. "
            "The same command continues."
        )


def _beyond(found: Float[Tensor, "clips views m d"], store: FeatureStore) -> str:
    if not found.isfinite().all():
        return "The encoder gives features that are not finite. Are its weights whole? See: kinelite info MODEL"
    return (
        f"The encoder gives features up to {found.abs().max():.3g}, more than {store.key.precision} can hold. "
        "Store them with --features.precision bf16"
    )


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _quiet(_done: int, _total: int) -> None:
    """Progress that nobody watches."""
