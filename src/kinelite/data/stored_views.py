"""All views of a clip whose features are to be stored, from one decode of its file."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8

from kinelite.data import augment
from kinelite.data.dataset import Reading, Stored, read_row, training_draw
from kinelite.data.manifest import Row
from kinelite.data.sampling import phase_times
from kinelite.data.views import Views


def stored_frames(
    out: UInt8[np.ndarray, "v c t h w"], row: Row, index: int, reading: Reading, stored: Stored, first: int = 0
) -> None:
    """Frames of the views from ``first`` on, ``t = frames * phases``: tubelet by tubelet, its phases one after another.

    View 0 is the test sample; view v is what training draws for clip ``index`` in epoch v, with one augmentation draw
    for all of its phases. One phase gives exactly the frames of `fill_views` and `fill_training`.
    """
    spec, calls = reading.spec, 0
    generators = {view: np.random.default_rng([reading.seed, view, index]) for view in range(first, first + len(out))}

    def choose(start_s: float, end_s: float, frame_s: float) -> Float64[np.ndarray, " t"]:
        nonlocal calls
        calls += 1
        times = []
        for view, rng in generators.items():
            chance = rng if view else None
            found = phase_times(
                start_s, end_s, spec.frames, stored.phases, spec.sampling, spec.stride * frame_s, chance
            )
            times.append(by_tubelet(found, stored.tubelet))
        return np.concatenate(times)

    def draws(height: int, width: int) -> list[augment.Draw]:
        return [
            training_draw(spec, reading.policy, height, width, rng)
            if view and reading.policy
            else augment.fixed_draw(height, width, spec.size, spec.fit)
            for view, rng in generators.items()
        ]

    read_row(row, choose, Views(out, draws), spec.size)
    if calls > 1 and len(out) > 1:
        # Damaged further on, and sampled again from what is whole; a view that ends before the damage is not concerned.
        for place, view in enumerate(generators):
            stored_frames(out[place : place + 1], row, index, reading, stored, view)


def by_tubelet(times: Float64[np.ndarray, "phases t"], tubelet: int) -> Float64[np.ndarray, " phases_t"]:
    """Times ordered by tubelet, then phase, then frame within the tubelet."""
    return times.reshape(len(times), -1, tubelet).swapaxes(0, 1).reshape(-1)
