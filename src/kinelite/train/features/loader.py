"""Batches of stored features: which view and which moments of each clip an epoch sees, gathered from the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from kinelite.data.dataset import Key
from kinelite.data.loader import ALL, EpochBatches, Share
from kinelite.data.manifest import Manifest
from kinelite.train.features.store import FeatureStore

# Kept apart from the streams of clips, [seed, epoch, index], and of their order, [seed, epoch, 2**31].
_VIEWS, _PHASES = 2**31 + 1, 2**31 + 2


@dataclass
class FeatureBatch:
    """Features of the clips of one step, as `kinelite.data.loader.Batch` holds their frames."""

    features: Float[Tensor, "b n d"] | None
    labels: Int64[Tensor, "b tasks"]
    indices: list[int]
    skipped: list[tuple[int, str]]


def drawn_views(clips: int, views: int, seed: int, epoch: int) -> Int[np.ndarray, " clips"]:
    """The view of each clip in an epoch: each ``views`` epochs in a row show every view once, in an order of the clip's
    own."""
    cycle, place = divmod(epoch, views)
    orders = np.tile(np.arange(views), (clips, 1))
    return np.random.default_rng([seed, cycle, _VIEWS]).permuted(orders, axis=1)[:, place]


def drawn_phases(shape: tuple[int, int], phases: int, seed: int, epoch: int) -> Int[np.ndarray, "clips n"]:
    """The moment of each tubelet (``shape``: clips, tubelets) in an epoch, drawn apart from all others: what random
    times in equal segments are online."""
    return np.random.default_rng([seed, epoch, _PHASES]).integers(phases, size=shape, dtype=np.int16)


@dataclass
class FeatureLoader:
    """Batches of stored features in the order of `EpochBatches`, read in this process: a batch costs a copy of it.

    With ``seed`` None, view 0 at the middle moments: the test sample. Otherwise what an epoch sees is drawn from
    (seed, epoch, clip) alone. Type of the features: that of the store.
    """

    store: FeatureStore
    labels: Int64[Tensor, "clips tasks"]
    batches: EpochBatches
    seed: int | None = None
    wait_s: float = 0.0
    """Seconds that the trainer waited for batches."""

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[FeatureBatch]:
        began = time.perf_counter()
        views, phases = self._draws(self.batches.epoch)
        for keys in self.batches:
            batch = self._batch(keys, views, phases)
            self.wait_s += time.perf_counter() - began
            yield batch
            began = time.perf_counter()

    def nothing(self) -> Float[Tensor, "0 n d"]:
        """Features of no clip."""
        return torch.empty(0, self.store.tubelets, self.store.width, dtype=self.store.dtype)

    def close(self) -> None:
        """Nothing runs beside this process, so there is nothing to stop."""

    def _draws(self, epoch: int) -> tuple[Int[np.ndarray, " clips"], Int[np.ndarray, "clips n"] | None]:
        clips, store = len(self.labels), self.store
        if self.seed is None:
            middle = np.full((clips, store.tubelets), store.phases // 2, np.int16) if store.phases > 1 else None
            return np.zeros(clips, np.int64), middle
        views = drawn_views(clips, store.views, self.seed, epoch)
        if store.phases == 1:
            return views, None
        return views, drawn_phases((clips, store.tubelets), store.phases, self.seed, epoch)

    def _batch(
        self, keys: list[Key], views: Int[np.ndarray, " clips"], phases: Int[np.ndarray, "clips n"] | None
    ) -> FeatureBatch:
        problems = [(key.index, self.store.problem(key.index)) for key in keys]
        good = [index for index, problem in problems if problem is None]
        rows = [self.store.read(index, int(views[index])) for index in good]
        if phases is not None:
            first = np.arange(self.store.tubelets) * self.store.phases
            rows = [row[first + phases[index]] for index, row in zip(good, rows, strict=True)]
        skipped = [(index, problem) for index, problem in problems if problem is not None]
        return FeatureBatch(torch.stack(rows) if rows else None, self.labels[good], good, skipped)


def feature_loader(
    store: FeatureStore,
    manifest: Manifest,
    batch: int,
    *,
    shuffle: bool,
    seed: int | None = None,
    share: Share = ALL,
) -> FeatureLoader:
    """A loader of the features of ``manifest``'s clips; ``seed`` as in `FeatureLoader`, ``share`` as in
    `EpochBatches`."""
    labels = torch.tensor([row.labels for row in manifest.rows], dtype=torch.int64).reshape(len(manifest.rows), -1)
    return FeatureLoader(store, labels, EpochBatches(len(labels), batch, seed or 0, shuffle, share=share), seed)
