"""A run folder and the run in it: resume, clock, checkpoints, validation, stopping. The loop asks, the job answers."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from kinelite.config import TrainConfig
from kinelite.data.loader import Batch, choose_workers
from kinelite.data.manifest import Manifest
from kinelite.errors import DataError
from kinelite.train.checkpoint import Checkpoint, Progress, checkpoint_path, list_checkpoints, save_checkpoint
from kinelite.train.decoder import settled
from kinelite.train.device import PeakMemory, Placement
from kinelite.train.evaluate import Scores, numbers, score
from kinelite.train.features.loader import FeatureBatch
from kinelite.train.features.use import score_features, validation_features
from kinelite.train.interrupted import Interrupted
from kinelite.train.log import RunLog
from kinelite.train.optim import set_lr
from kinelite.train.part import Part
from kinelite.train.sharded import whole, whole_state
from kinelite.train.stage import train_mode, trained_parameters
from kinelite.train.trained import load_best, save_best
from kinelite.train.world import ALONE, World


@dataclass(frozen=True)
class Agreed:
    """What several processes decided together in a step, so that they all do it at the same one."""

    stop: bool
    save: bool
    out_of_time: bool


@dataclass
class Job:
    """One training run. ``progress`` is all of its state beside weights and optimiser."""

    config: TrainConfig
    training: Manifest
    validation: Manifest
    fabric: Fabric
    placement: Placement
    memory: PeakMemory
    out: Path
    log: RunLog
    fingerprint: str
    world: World = ALONE
    progress: Progress = field(default_factory=Progress)
    resume: Checkpoint | None = None
    asked_to_stop: str = ""
    _saved_at: float = field(default_factory=time.perf_counter)
    _save_s: float = 0.0
    _old_handlers: dict[int, Any] = field(default_factory=dict)
    _undecodable: set[int] = field(default_factory=set)
    _agreed: Agreed | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.out / "checkpoints"

    def take_resume(self) -> tuple[dict[str, Tensor] | None, Checkpoint | None]:
        """(weights of the stage before, checkpoint within the stage) to continue from; either may be None."""
        found, self.resume = self.resume, None
        if found is None:
            return None, None
        if found.progress.stage_step == 0 and not found.progress.stage_done:
            return found.model, None
        return None, found

    def announce(self, part: Part, origin: str, trained: int) -> None:
        """Say what the stage is and what froze, once in the log file and once for the person."""
        p, stage = self.progress, part.stage
        total = sum(q.numel() for q in part.model.parameters())
        self.log.say(
            f"Stage {p.stage + 1}/{len(self.config.stages)} '{stage.name}': {stage.frames} frames, "
            f"{stage.epochs} epochs, {trained / 1e6:.2f} of {total / 1e6:.2f} M parameters train; "
            f"frozen: {part.frozen}; {origin}."
        )
        if p.stage_step == 0:
            self.log.row(
                "stage",
                stage=p.stage,
                stage_name=stage.name,
                frames=stage.frames,
                trained_params=trained,
                froze=list(stage.freeze),
                train_s=p.train_s,
                step=p.step,
            )
        self.log.start(stage.name, part.schedule.steps, p.stage_step)

    def clock(self, began: float) -> float:
        """Add the time since ``began`` to training; returns now."""
        now = time.perf_counter()
        self.progress.train_s += now - began
        self.progress.stage_s += now - began
        return now

    def set_lr(self, part: Part, lr: float) -> None:
        """Set the rate of this step."""
        set_lr(part.optimizer, lr)

    def meet(self, batch: Batch | FeatureBatch) -> list[int]:
        """Clips of this step that each process could read. ``batch`` learns which ones nobody could."""
        found = self.world.counts(len(batch.indices), len(batch.skipped))
        if self.world.size > 1 and any(skipped for _, skipped in found):
            batch.skipped = [skip for part in self.world.everyones(batch.skipped) for skip in part]
        return [read for read, _ in found]

    def agree(self, loss: float) -> float:
        """The sum of every process's ``loss``. On the way they decide whether to stop (when any was asked to), and by
        the clock of the first one whether to save and whether time is up."""
        if self.world.size > 1:
            wishes = bool(self.asked_to_stop), self._save_time(), self._time_is_up()
            asked = [float(wish) if number == 0 or self.world.first else 0.0 for number, wish in enumerate(wishes)]
            loss, *heard = self.world.sums(loss, *asked)
            self._agreed = Agreed(*map(bool, heard))
        return loss

    def count_skipped(self, batch: Batch | FeatureBatch) -> None:
        """Name each clip that cannot be decoded once, with the count. Raises DataError when there is no other left."""
        self.progress.skipped += len(batch.skipped)
        clips = len(self.training.rows)
        for index, reason in batch.skipped:
            if index not in self._undecodable:
                self._undecodable.add(index)
                self.log.say(f"  left out, {len(self._undecodable)} of {clips} training clips so far: {reason}")
        if len(self._undecodable) == clips:
            raise DataError(f"None of {clips} training clips can be decoded. See: kinelite data check SPEC")

    def log_due(self, part: Part) -> bool:
        """About twenty rows per epoch, and the last step of it."""
        every = max(1, len(part.loader) // 20)
        return self.progress.batch % every == 0 or self.progress.batch == len(part.loader)

    def log_step(self, part: Part, loss: float, lr: float, norm: float) -> None:
        """A row for the report and a new number beside the bar."""
        p = self.progress
        p.wait_s, part.loader.wait_s = p.wait_s + part.loader.wait_s, 0.0
        values = {"loss": loss, "lr": lr, "grad_norm": norm, "train_s": p.train_s, "wait_s": p.wait_s}
        self.log.row("step", stage=p.stage, stage_name=part.stage.name, epoch=p.epoch, step=p.step, **values)
        self.log.advance(p.stage_step, f"epoch {p.epoch + 1} loss {loss:.3f}")

    def save_due(self) -> bool:
        """By steps when asked, else by time."""
        every = self.config.keep.every_steps
        if every:
            return self.progress.step % every == 0
        return self._agreed.save if self._agreed else self._save_time()

    def _save_time(self) -> bool:
        return time.perf_counter() - self._saved_at > self.config.keep.every_s

    def save(self, part: Part) -> Path:
        """Write a checkpoint, and every row that belongs to what it holds."""
        p, began = self.progress, time.perf_counter()
        self._measure()
        self.log.sync()
        p.schedule = part.schedule.state()
        path = checkpoint_path(self.checkpoints, p)
        state = {
            "model": part.state(),
            "optimizer": whole_state(part.optimizer) if p.stage_step else {"state": {}, "param_groups": []},
            "ema": {k: whole(v) for k, v in part.ema.average.items()} if part.ema and p.stage_step else {},
        }
        if self.world.first:
            scaler, keep = self.fabric.strategy.precision.state_dict(), self.config.keep.last
            save_checkpoint(path, **state, scaler=scaler, progress=p, data=self.fingerprint, keep=keep)
        self.world.wait()
        self._saved_at = time.perf_counter()
        self._save_s = self._saved_at - began
        return path

    def save_epoch(self, part: Part) -> None:
        """Write the checkpoint of an epoch's end. On stored features an epoch may be shorter than that takes: there
        it waits until writing has been a twentieth of the time."""
        if self.world.firsts(not part.stored or time.perf_counter() - self._saved_at > 20 * self._save_s):
            self.save(part)

    def last_good(self) -> str:
        """The newest checkpoint, or 'none yet'."""
        found = list_checkpoints(self.checkpoints)
        return str(found[-1]) if found else "none yet"

    def _measure(self) -> None:
        p = self.progress
        p.stage_peak_gib = max(p.stage_peak_gib, self.memory.read_gib())
        p.peak_gib = max(p.peak_gib, p.stage_peak_gib)

    def out_of_time(self) -> bool:
        """Whether --max-hours is over."""
        return self._agreed.out_of_time if self._agreed else self._time_is_up()

    def _time_is_up(self) -> bool:
        limit_s = self.config.max_hours * 3600
        return 0 < limit_s < self.progress.train_s + self.progress.eval_s

    def validate_due(self, epochs: int) -> bool:
        """Every ``keep.eval_epochs`` and after the last epoch; never when that is 0."""
        every = self.config.keep.eval_epochs
        p = self.progress
        return bool(every) and (p.epoch % every == 0 or p.epoch == epochs or p.stage_done)

    def validate(self, part: Part) -> None:
        """Score the validation clips with the weights that would be kept, and act on the result."""
        p, keep = self.progress, self.config.keep
        self._measure()
        began = time.perf_counter()
        found = self._score(part)
        p.eval_s += time.perf_counter() - began
        part.schedule.observe(found["top1"])
        p.best, p.stale = max(p.best, found["top1"]), 0 if found["top1"] > p.best else p.stale + 1
        if keep.early_stop and p.stale >= keep.early_stop:
            p.stage_done = True
            self.log.say(f"No progress in {p.stale} evaluations: stage '{part.stage.name}' ends.")
        row = {"top1": found["top1"], "top5": found["top5"], "loss": found["loss"], "train_s": p.train_s}
        self.log.row("eval", stage=p.stage, stage_name=part.stage.name, epoch=p.epoch, step=p.step, **row)
        self.log.say(
            f"  {part.stage.name} epoch {p.epoch}/{part.stage.epochs}: validation top-1 {100 * found['top1']:.1f} %, "
            f"loss {found['loss']:.3f}, trained {p.train_s:.0f} s, waited for clips {p.wait_s:.0f} s"
        )

    def _score(self, part: Part) -> dict[str, Any]:
        if part.ema:
            part.ema.swap()
        part.model.eval()
        found = numbers(self._scores(part), self.validation)
        if self.config.keep.select == "best" and found["top1"] > self.progress.best:
            state = part.state()  # all processes have to give their parts
            if self.world.first:
                save_best(self.out, state)
        train_mode(part.model)
        if part.ema:
            part.ema.swap()
        return found

    def _scores(self, part: Part) -> Scores:
        batch, forward = part.at_a_time, part.evaluated(self.placement)
        if part.stored:
            part.held_out = part.held_out or validation_features(self, part.model, batch)
            part.model.eval()
            return score_features(forward, part.held_out, self.validation, self.fabric.device, self.world)
        return score(
            forward,
            self.validation,
            part.spec,
            self.fabric.device,
            batch=batch,
            workers=choose_workers(self.config.workers, self.placement.accelerator, len(self.validation.rows)),
            decoder=settled(self.config.clips.decoder),
            limit_s=self.config.clips.limit_s,
            chunk_frames=self.config.memory.chunk_frames,
            world=self.world,
        )

    def finish_stage(self, part: Part) -> None:
        """Put the final weights in place, note what the stage was, and save the state that the next one starts from."""
        p, stage = self.progress, part.stage
        self._measure()
        part.loader.close()
        p.wait_s, part.loader.wait_s = p.wait_s + part.loader.wait_s, 0.0
        if part.ema:
            part.ema.swap()
        trained = trained_parameters(part.model)
        part.put_together(self.placement)
        if self.config.keep.select == "best" and p.best >= 0:
            self.world.wait()  # until it is written
            load_best(self.out, part)
        p.finished_stages.append(
            {
                "name": stage.name,
                "frames": stage.frames,
                "epochs": p.epoch,
                "micro_batch": part.stage.micro_batch,
                "seconds": p.stage_s,
                "steps": p.stage_step,
                "trained_params": trained,
                "froze": list(stage.freeze),
                "top1": p.best if p.best >= 0 else None,
                "peak_memory_gib": p.stage_peak_gib,
                "features": p.features or None,
            }
        )
        self.log.stop()
        p.stage, p.epoch, p.batch, p.stage_step, p.stage_s, p.stage_peak_gib = p.stage + 1, 0, 0, 0, 0.0, 0.0
        p.best, p.stale, p.stage_done, p.features = -1.0, 0, False, {}
        self.save(part)

    def stop_if_asked(self, part: Part) -> None:
        """Raise Interrupted after writing a checkpoint, when a signal came."""
        if self._agreed.stop if self._agreed else self.asked_to_stop:
            path = self.save(part)
            raise Interrupted(f"Stopped by {self.asked_to_stop or 'a signal to another process'}; kept {path}.")

    def watch_signals(self) -> None:
        """Turn Ctrl-C and a scheduler's SIGTERM into a stop after the step at hand; a second Ctrl-C stops at once."""

        def note(number: int, _: FrameType | None) -> None:
            if self.asked_to_stop:
                raise KeyboardInterrupt
            self.asked_to_stop = signal.Signals(number).name
            self.log.say(f"{self.asked_to_stop}: finishing this step and writing a checkpoint ...")

        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._old_handlers[number] = signal.signal(number, note)
            except ValueError:
                return  # not the main thread: the caller's own handling stays

    def unwatch_signals(self, ignore: bool = False) -> None:
        """Give the signals back. ``ignore``: for now they are let pass, until this is called again."""
        for number, handler in self._old_handlers.items():
            signal.signal(number, signal.SIG_IGN if ignore else handler)
        if ignore:
            return
        self._old_handlers.clear()
