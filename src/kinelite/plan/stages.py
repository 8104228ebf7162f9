"""What one stage takes: peak memory at given clips and frames, the most that fit, a table of both."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from kinelite.config import Stage, TrainConfig
from kinelite.errors import UsageError
from kinelite.models import Factorised
from kinelite.plan.largest import largest
from kinelite.plan.step import Work, build
from kinelite.plan.surface import Surface
from kinelite.plan.target import Target
from kinelite.plan.traces import Traced, Traces
from kinelite.train.chunks import choose_pass_chunk
from kinelite.train.features.choice import can_be_stored, choose_early, needs_pixels

MOST_FRAMES, MOST_CLIPS = 1024, 1024
"""Where the search for what fits ends."""
TABLE_FRAMES, TABLE_CLIPS = (8, 16, 32, 64, 128), (1, 4, 16)


@dataclass(frozen=True)
class Peaks:
    """Passes of a stage at some clips and frames."""

    train: Traced
    encode: Traced | None = None
    """Of a stage on stored features: the encoder as it fills the store, beside the optimiser's state."""

    def passes(self) -> dict[str, Traced]:
        """By name."""
        return {"train": self.train} | ({"encode": self.encode} if self.encode else {})

    @property
    def largest(self) -> Traced:
        """The pass that takes most."""
        encode = self.encode
        return encode if encode and encode.total_bytes > self.train.total_bytes else self.train


@dataclass(frozen=True)
class Cell:
    """One number of the table; ``peak_bytes`` is None where fewer clips or frames do not fit already, and where the
    model cannot have so few frames."""

    frames: int
    clips: int
    peak_bytes: int | None


@dataclass
class Planner:
    """Asks for peaks of stages of one config on one target."""

    config: TrainConfig
    """Resolved."""
    target: Target
    precision: Any
    """fp32, bf16 or fp16."""
    classes: tuple[int, ...]
    traces: Traces
    _models: dict[Any, Any] = field(default_factory=dict)
    _surfaces: dict[Any, Any] = field(default_factory=dict)
    _frames: dict[Any, bool] = field(default_factory=dict)

    def blank(self, stage: Stage) -> Any:
        """The model of a stage on the meta device."""
        kind = (stage.freeze, stage.adapter, stage.size)
        if kind not in self._models:
            with torch.device("meta"):
                self._models[kind] = build(self.work(stage, 1, 1))
        return self._models[kind]

    def stores(self, stage: Stage) -> bool:
        """Whether the stage will read stored features, as far as that is known before anything is measured: under
        'auto' a stage of more epochs than there are views is taken to."""
        if not self.storable(stage):
            return False
        choice = choose_early(self.config, stage)
        return choice is None or choice.mode == "stored"

    def storable(self, stage: Stage) -> bool:
        """Whether the features of the stage's encoder stay the same and can be stored."""
        return can_be_stored(self.blank(stage)) and needs_pixels(self.config) is None

    def peaks(self, stage: Stage, clips: int, stored: bool | None = None) -> Peaks:
        """The passes of a stage with ``clips`` at a time. Raises UsageError for what cannot be built."""
        stored = self.stores(stage) if stored is None else stored
        batch = max(clips, stage.batch or 1)
        train = self.traces(replace(self.work(stage, batch, clips), stored=stored))
        if not stored:
            return Peaks(train)
        encode, held = self.encode(stage), train.parts_bytes["optimizer"]
        parts = encode.parts_bytes | {"optimizer": encode.parts_bytes["optimizer"] + held}
        return Peaks(train, replace(encode, total_bytes=encode.total_bytes + held, parts_bytes=parts))

    def encode(self, stage: Stage) -> Traced:
        """The encoder as it fills a store: a full chunk of frames at a time, however many clips wait."""
        chunk = self._pass_chunk(stage)
        return self.traces(self.encode_work(stage, max(1, 2 * chunk // max(1, stage.frames or 1))))

    def encode_work(self, stage: Stage, clips: int) -> Work:
        """The pass that fills a store, over so many clips."""
        memory = replace(self.config.memory, chunk_frames=self._pass_chunk(stage))
        work = self.work(stage, clips, clips)
        return replace(work, mode="inference", config=replace(work.config, memory=memory))

    def _pass_chunk(self, stage: Stage) -> int:
        asked, device = self.config.memory.chunk_frames, torch.device(self.target.kind)
        return choose_pass_chunk(asked, device, self.frames_step(stage), self.blank(stage).spec.size)

    def peak_bytes(self, stage: Stage, clips: int) -> float:
        """Largest peak in bytes; infinite for what cannot be built."""
        try:
            return float(self.peaks(stage, clips).largest.total_bytes)
        except UsageError:
            return math.inf

    def at_once(self, stage: Stage, clips: int) -> float:
        """As `peak_bytes`, of a batch of ``clips`` that goes through the model at once: from a surface where there is
        one, which takes four traces for all clips and frames."""
        whole, own = replace(stage, batch=clips), self._surfaces
        key = replace(stage, batch=None, frames=None, micro_batch=None)
        if key not in own:
            own[key] = self._surface(stage)
        surface, constant = own[key]
        # A single tubelet is no sequence: PyTorch spares copies there.
        alone = (stage.frames or 0) <= self.frames_step(stage)
        if surface is None or alone or not self._buildable(stage):
            return self.peak_bytes(whole, clips)
        return max(surface.peak_bytes(clips, stage.frames or self.config.frames), float(constant))

    def _surface(self, stage: Stage) -> tuple[Surface | None, int]:
        """The surface of a stage, and the peak of the pass that clips and frames change nothing of."""
        stored, batch = self.stores(stage), stage.batch or self.config.batch
        if self.storable(stage) and not stored:
            return None, 0
        frames = stage.frames or self.config.frames
        try:
            work = replace(self.work(stage, batch, batch), stored=stored)
            surface = self.traces.surface(work, (frames, 4 * frames))
            encode = self.peaks(stage, batch).encode
        except UsageError:
            return None, 0
        return surface, encode.total_bytes if encode else 0

    def _buildable(self, stage: Stage) -> bool:
        """Whether the model takes so many frames."""
        if stage.frames not in self._frames:
            try:
                with torch.device("meta"):
                    build(self.work(stage, 1, 1))
                self._frames[stage.frames] = True
            except UsageError:
                self._frames[stage.frames] = False
        return self._frames[stage.frames]

    def most_clips(self, stage: Stage, most: int = MOST_CLIPS) -> int:
        """The largest batch that fits at once, at the stage's frames; 0: not one clip."""
        found = largest(lambda clips: self.at_once(stage, clips), self.target.limit_bytes, 1, most)
        while found and self.peak_bytes(replace(stage, batch=found), found) > self.target.limit_bytes:
            found -= 1
        return found

    def most_at_a_time(self, stage: Stage) -> int:
        """Clips of a forward pass that fit while the gradient of the stage's batch adds up; 0: not one."""
        batch, limit = stage.batch or self.config.batch, self.target.limit_bytes
        if self.peak_bytes(stage, batch) <= limit:
            return batch
        return largest(lambda clips: self.peak_bytes(stage, clips), limit, 1, batch)

    def most_frames(self, stage: Stage, clips: int) -> int:
        """Frames that fit with ``clips`` at a time, a multiple of the tubelet; 0: none."""
        step = self.frames_step(stage)
        low = next((n for n in (step, 8) if n % step == 0 and self._possible(stage, n)), stage.frames or step)
        high = max(low, MOST_FRAMES // step * step)
        whole = clips >= (stage.batch or self.config.batch)
        ask = self.at_once if whole else self.peak_bytes
        limit, at = self.target.limit_bytes, lambda frames: replace(stage, frames=frames)
        found = largest(lambda frames: ask(at(frames), clips), limit, low, low + (high - low) // step * step, step)
        while found > low and self.peak_bytes(at(found), clips) > limit:
            found -= step
        return found

    def frames_step(self, stage: Stage) -> int:
        """Frames that a clip grows by: a tubelet, or 4 of a model that mixes over time from its first layer on."""
        model = self.blank(stage)
        return model.tubelet if isinstance(model, Factorised) else 4

    def table(self, stage: Stage, clips: int) -> list[Cell]:
        """Peaks over frames x batches that go through the model at once, up to the first that does not fit."""
        step, cells = self.frames_step(stage), []
        rows = sorted({*(n for n in TABLE_FRAMES if n % step == 0), stage.frames or step})
        columns = sorted({*TABLE_CLIPS, clips})
        too_many = columns[-1] + 1
        for frames in rows:
            for count in columns:
                at = math.inf if count >= too_many else self.at_once(replace(stage, frames=frames), count)
                cells.append(Cell(frames, count, int(at) if math.isfinite(at) else None))
                if self.target.limit_bytes < at < math.inf:
                    too_many = min(too_many, count)
        return cells

    def _possible(self, stage: Stage, frames: int) -> bool:
        return self._buildable(replace(stage, frames=frames))

    def work(self, stage: Stage, batch: int, clips: int) -> Work:
        """A training step of a stage."""
        return Work(self.config, stage, self.classes, batch, clips, precision=self.precision, target=self.target.kind)
