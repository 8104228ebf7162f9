"""How long a stage takes: its operations over a rate that was measured here, or over a share of a published one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kinelite.plan.gpus import UTILISATION, Gpu

Basis = Literal["measured", "measured on another model", "published"]


@dataclass(frozen=True)
class Rate:
    """Operations per second that a device does in a kind of step."""

    flops_per_s: float
    basis: Basis
    of: str
    """Device, and model where it was measured."""

    def __str__(self) -> str:
        rate = f"{self.flops_per_s / 1e12:.3g} TFLOP/s"
        if self.basis == "published":
            return f"{100 * UTILISATION:.0f} % (assumed) of the published peak of {self.of}, {rate}"
        return f"{rate}, {self.basis}: {self.of}"


def published(gpu: Gpu, precision: str) -> Rate:
    """What is assumed of a card."""
    return Rate(UTILISATION * gpu.tflops(precision) * 1e12, "published", gpu.name)


@dataclass(frozen=True)
class Work:
    """Operations of a stage, reading of clips and evaluation left out."""

    train_flops: float
    encode_flops: float = 0.0
    """Of the pass that fills the store of features."""


def hours(work: Work, train: Rate, encode: Rate | None = None) -> float:
    """Hours of a stage."""
    seconds = work.train_flops / train.flops_per_s + work.encode_flops / (encode or train).flops_per_s
    return seconds / 3600


@dataclass(frozen=True)
class Told:
    """Hours of a stage, and what they rest on."""

    hours: float | None
    basis: str
    by_card: dict[str, float]
    """Card -> hours, by published rates, the slowest first."""


def tell(work: Work, measured: Sequence[Rate], cards: Sequence[Gpu], precision: str) -> Told:
    """By what was ``measured`` (rate of training, and of encoding where there is such a pass), else by the slowest of
    the ``cards``."""
    rates = {gpu.name: published(gpu, precision) for gpu in cards}
    listed = {name: round(hours(work, rate), 4) for name, rate in rates.items()}
    chosen = list(measured) or list(rates.values())[:1]
    if not chosen:
        return Told(None, "no rate is known for this device: --calibrate measures one, --gpu NAME takes a card's", {})
    found = hours(work, chosen[0], chosen[1] if measured and len(chosen) > 1 else None)
    return Told(round(found, 4), str(chosen[0]), listed)
