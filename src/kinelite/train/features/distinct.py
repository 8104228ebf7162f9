"""Tubelets that a pass would encode twice: the views of a short clip show the same frames again and again.

128 moments of a clip of 100 frames look at every frame, so that the views of such a clip differ in little but what the
policy draws: with mirroring alone, four views have 2.7 times the tubelets of one, six 3.3 times (UT-Interaction). What
was encoded is not encoded again.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from kinelite.train.chunks import bare, encode_in_chunks, encode_parts
from kinelite.train.step import normalise
from kinelite.types import InputSpec

EVERY = 16
"""Of so many rows of pixels one is looked at, to find tubelets that may be equal."""


def first_equal(frames: UInt8[Tensor, "views c t h w"], tubelet: int) -> Int[np.ndarray, "views m"]:
    """Of each tubelet of one clip the number of one with the same bytes, counted view by view: its own where it is the
    first such. Rarely an equal one is not found, never a different one named.

    ``m`` tubelets of ``tubelet`` frames in each view. What is looked at is kept as a checksum: of long clips the bytes
    themselves would be another sixteenth of the pixels.
    """
    tubelets = frames.numpy().reshape(*frames.shape[:2], -1, tubelet, *frames.shape[3:]).transpose(0, 2, 1, 3, 4, 5)
    shape = tubelets.shape[:2]
    known: dict[int, tuple[int, int]] = {}
    found = np.arange(shape[0] * shape[1]).reshape(shape)
    for place in np.ndindex(*shape):
        seen = known.setdefault(zlib.crc32(tubelets[place][..., ::EVERY, :].tobytes()), place)
        if seen != place and np.array_equal(tubelets[seen], tubelets[place]):
            found[place] = found[seen]
    return found


def distinct(
    frames: UInt8[Tensor, "clips views c t h w"], tubelet: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " clips_views_m"]]:
    """Numbers of the tubelets to encode, counted clip by clip and view by view, and for each tubelet of all its place
    among those."""
    found = [first_equal(clip, tubelet).reshape(-1) for clip in frames]
    numbers = np.concatenate([first + i * len(first) for i, first in enumerate(found)])
    return np.unique(numbers, return_inverse=True)


def views_to_encode(frames: UInt8[Tensor, "views c t h w"], tubelet: int) -> float:
    """How many times the tubelets of the first view of a clip have to be encoded for all of them: at most the number of
    views."""
    every, first = (len(distinct(part[None], tubelet)[0]) for part in (frames, frames[:1]))
    return every / first


def encode_distinct(
    model: Any,
    frames: UInt8[Tensor, "clips views c t h w"],
    spec: InputSpec,
    device: torch.device,
    chunk_frames: int = 0,
) -> Float[Tensor, "clips views m d"]:
    """As `encode_in_chunks` of all views, with equal tubelets of a clip encoded once."""
    tubelet = bare(model).tubelet
    clips, views, colours, times, height, width = frames.shape
    numbers, places = distinct(frames, tubelet)
    if len(numbers) == len(places):
        return encode_in_chunks(model, frames.flatten(0, 1), spec, device, chunk_frames).unflatten(0, (clips, views))
    # One clip in which they follow each other: chunks of it have the shape that those of any other clip have.
    shape = (1, colours, len(numbers) * tubelet, height, width)
    m = times // tubelet
    clip, view, place = (torch.from_numpy(part) for part in np.unravel_index(numbers, (clips, views, m)))

    def video(_: slice, part: slice) -> Float[Tensor, "1 c t h w"]:
        some = slice(part.start // tubelet, part.stop // tubelet)
        pixels = frames.unflatten(3, (m, tubelet))[clip[some], view[some], :, place[some]]
        return normalise(pixels.transpose(0, 1).flatten(1, 2)[None], spec, device)

    found = encode_parts(model, shape, video, device, chunk_frames)[0]
    return found[torch.from_numpy(places).to(found.device)].unflatten(0, (clips, views, m))
