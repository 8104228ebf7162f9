"""What is asked for, and what is known of one model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Basis = Literal["measured", "predicted", "published", "own run"]
Mode = Literal["single", "batch", "train"]
BATCHES: dict[str, int] = {"train": 8, "batch": 32, "single": 1}
"""Clips of a call, as the lightweight paper measures (section 3.2)."""
CLIPS = {"kinetics400": 246_535, "ssv2": 168_913, "epic100": 67_217}
"""Training clips (Table 3 of the lightweight paper)."""


@dataclass(frozen=True)
class Request:
    """Limits, None for none, and what they are for."""

    mode: Mode = "single"
    max_latency_ms: float | None = None
    """Of a call: a clip, a batch, a training step."""
    max_memory_gib: float | None = None
    min_accuracy: float | None = None
    """Top-1, a share in [0, 1]."""
    max_train_hours: float | None = None
    data: str = "ssv2"
    """Set that accuracy is for."""
    clips: int | None = None
    """Training clips; None: those that the paper's Table 3 gives for ``data``."""
    epochs: int | None = None
    """None: the published epochs to convergence."""
    precision: str | None = None
    """None: whatever was measured; per model the fastest that fits."""
    frames: int = 16
    size: int = 224


@dataclass(frozen=True)
class Figure:
    """A number and what it rests on."""

    value: float
    basis: Basis
    why: str


@dataclass(frozen=True)
class Candidate:
    """What is known of one model on the device. None: nothing."""

    model: str
    latency_ms: Figure | None = None
    memory_gib: Figure | None = None
    accuracy: Figure | None = None
    train_hours: Figure | None = None
    relative_latency: Figure | None = None
    """Over that of the fastest, where no milliseconds are known."""
    setting: str = ""
    """Where and how it was measured."""
    failed: str = ""
    """Why it cannot run here, as measured."""
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Verdict:
    """Whether a model is recommended, and why or why not."""

    candidate: Candidate
    chosen: bool
    reason: str
