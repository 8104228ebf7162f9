"""Clips to check a file with and to find ranges of int8 with: drawn ones, or those of a set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinelite.data.dataset import Key, Reading, read_sample
from kinelite.data.manifest import Manifest
from kinelite.data.motion_scene import MOTIONS, draw_scene, lengthened, render
from kinelite.train.step import normalise
from kinelite.types import InputSpec

CALIBRATION = 32
"""Clips that ranges are taken from. Ten drawn ones leave transformers ten times the error (docs/log.md)."""


@dataclass(frozen=True)
class Clips:
    """Videos that a model is shown, one at a time, and where they come from."""

    said: str
    pixels: list[UInt8[np.ndarray, "c t h w"]]
    spec: InputSpec

    def videos(self, batch: int) -> Iterator[Float[Tensor, "b c t h w"]]:
        """Normalised, as many as a call takes; the last clips stand in for those that are missing in the last call."""
        for start in range(0, len(self.pixels), batch):
            some = self.pixels[start : start + batch]
            some = [*some, *[some[-1]] * (batch - len(some))]
            yield normalised(np.stack(some), self.spec)


def normalised(clips: UInt8[np.ndarray, "b c t h w"], spec: InputSpec) -> Float[Tensor, "b c t h w"]:
    """Pixels as a model takes them, by the very function that training and prediction use."""
    return normalise(torch.from_numpy(clips), spec, torch.device("cpu"))


def drawn(spec: InputSpec, count: int, seed: int = 0) -> Clips:
    """Clips of the built-in motion set, drawn for this very input."""
    rng, names = np.random.default_rng(seed), list(MOTIONS)
    pixels = []
    for number in range(count):
        scene = lengthened(draw_scene(names[number % len(names)], rng), max(spec.frames, 2))
        pixels.append(np.ascontiguousarray(render(scene, spec.frames, spec.size).transpose(3, 0, 1, 2)))
    return Clips(f"{count} drawn clips", pixels, spec)


def read(manifest: Manifest, spec: InputSpec, count: int) -> Clips:
    """The first test view of clips spread over a set; those that cannot be decoded are left out."""
    places = np.linspace(0, len(manifest.rows) - 1, min(count, len(manifest.rows))).round().astype(int)
    samples = [read_sample(manifest.rows[place], Key(int(place), 0), Reading(spec)) for place in places]
    pixels = [sample.frames[0] for sample in samples if sample.frames is not None]
    return Clips(f"{len(pixels)} clips of {manifest.name}", pixels, spec)
