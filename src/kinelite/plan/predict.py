"""Predicted memory of a step: traced on tensors without data, so that no device of that size is needed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from kinelite.plan.fake import FakeMode, to_fake
from kinelite.plan.scratch import cpu_scratch
from kinelite.plan.step import Work, blank_batch, build, prepare, prime, run
from kinelite.plan.track import Peak, Tracker

CUDA_BLOCK = 512
"""Bytes to a multiple of which the caching allocator of CUDA rounds (kMinBlockSize of its CUDACachingAllocator)."""


@dataclass(frozen=True)
class Prediction:
    """What a step takes."""

    peak: Peak
    flops: int
    """Of one step; two per multiply-accumulate."""
    levels: np.ndarray
    """Bytes that are taken after each birth and death of a storage, int64."""


def predict(work: Work) -> Prediction:
    """Trace one step of ``work``, with the optimiser's state in place.

    Raises UsageError for what the model cannot be built as.
    """
    with torch.device("meta"):
        model = build(work)
    with FakeMode(allow_non_fake_inputs=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ready = prepare(work, to_fake(model))
        prime(ready)
        frames, labels = blank_batch(work, model)
        cuda = work.target == "cuda"
        tracker = Tracker(CUDA_BLOCK if cuda else 1, None if cuda else cpu_scratch)
        tracker.know(model.parameters(), "weights")
        tracker.know(model.buffers(), "buffers")
        tracker.know(ready.state(), "optimizer")
        # A GPU holds the clips of one forward pass; the loader's batch stays in main memory.
        tracker.ignore([frames, labels]) if cuda else tracker.know([frames, labels], "inputs")
        with tracker:
            run(work, ready, frames, labels, tracker)
    return Prediction(tracker.peak(), tracker.flops, tracker.levels())
