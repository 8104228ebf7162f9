"""Everything that one stage trains with, built before the loop: model, optimiser, schedule, loader, averages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies.fsdp import FSDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, nn

from kinelite.config import Stage, TrainConfig
from kinelite.data.dataset import ClipDataset, Reading
from kinelite.data.loader import ClipLoader, Share, choose_workers, leave_cores, make_loader
from kinelite.data.manifest import Manifest
from kinelite.models import Factorised
from kinelite.models.weights import load_weights
from kinelite.train.build import augmentation, build_model, spare
from kinelite.train.checkpoint import Checkpoint, join_optimizer
from kinelite.train.compiled import compiled
from kinelite.train.decoder import settled
from kinelite.train.device import Placement
from kinelite.train.fabric import make_fabric
from kinelite.train.features.loader import FeatureLoader, feature_loader
from kinelite.train.features.store import FeatureStore
from kinelite.train.features.tail import Tail
from kinelite.train.halved import halve_frozen
from kinelite.train.optim import Ema, Schedule, fuses, make_optimizer
from kinelite.train.sharded import FrozenEncoder, load_state, replica, whole
from kinelite.train.shared_norm import SharedNorms
from kinelite.train.stage import Frozen, freeze, frozen_encoder, train_mode
from kinelite.train.world import ALONE, World
from kinelite.types import InputSpec


@dataclass
class Part:
    """One stage, ready to run."""

    stage: Stage
    model: nn.Module
    """The bare model; its state dict has the names that are saved."""
    forward: Any
    """What trains, as Fabric runs it (precision, later several devices): the model, or of a stage on stored features
    what stands behind the encoder."""
    optimizer: Any
    schedule: Schedule
    loader: ClipLoader | FeatureLoader
    ema: Ema | None
    frozen: Frozen
    spec: InputSpec
    together: Callable[[], nn.Module] | None = None
    """The whole model, where the processes share it out."""
    norms: SharedNorms | None = None
    """Batch norms over the clips of several processes."""
    auto: bool = False
    """The run chose the clips at a time itself, and takes fewer where memory runs out."""
    held_out: FeatureLoader | None = None
    """Stored features of the validation clips, from the first evaluation on."""

    @property
    def at_a_time(self) -> int:
        """Clips of a forward pass of an evaluation."""
        asked = self.stage.micro_batch
        return asked if isinstance(asked, int) and asked else 16

    @property
    def stored(self) -> bool:
        """Whether the stage reads stored features."""
        return isinstance(self.loader, FeatureLoader)

    def state(self) -> dict[str, Tensor]:
        """Weights by name."""
        return {name: whole(value) for name, value in self.model.state_dict().items()}

    def encoder(self, fabric: Fabric) -> Any:
        """What computes the features of a frozen encoder."""
        return FrozenEncoder(self.model, fabric.strategy.precision.forward_context) if self.together else self.forward

    def evaluated(self, placement: Placement) -> Any:
        """What is scored: the model that trains, or put together where processes share it out."""
        return make_fabric(placement).setup_module(self.together()) if self.together else self.forward

    def put_together(self, placement: Placement) -> None:
        """End the sharing: from now on this is the part of a process that holds the whole model."""
        if self.together:
            self.model, self.together = self.together(), None
            self.forward = make_fabric(placement).setup_module(self.model)


def build_part(
    config: TrainConfig,
    manifest: Manifest,
    fabric: Fabric,
    number: int,
    previous: dict[str, Tensor] | None,
    resume: Checkpoint | None = None,
    store_of: Callable[[nn.Module], FeatureStore | None] = lambda _: None,
    world: World = ALONE,
) -> tuple[Part, str]:
    """Stage ``number`` ready to run, and a sentence on where its weights came from.

    ``previous`` are the weights of the stage before. With ``resume`` the stage continues at its checkpoint.
    ``store_of`` is asked with the loaded and frozen model for stored features of the training clips to train on.
    """
    stage = config.stages[number]
    tasks = {name: len(classes) for name, classes in manifest.tasks.items()}
    model, origin = build_model(config, stage, tasks)
    if stage.adapter:
        # Seeded apart from the model, so that the adapter does not depend on what was drawn before it.
        torch.manual_seed(config.seed + 1)
        model.add_adapter()
    if previous is not None and stage.init == "previous":
        origin = f"from the stage before; {load_weights(model, previous)}"
    if resume:
        # Not load_state_dict: an adapter of an earlier stage is in the checkpoint and not yet in the model.
        load_weights(model, resume.model)
        origin = f"continued from {resume.path.name}"
    frozen = freeze(model, stage.freeze)
    sharing = isinstance(fabric.strategy, ModelParallelStrategy)
    together = replica(model) if sharing else None
    spare(model, config, stage)
    store = store_of(model)
    # Fused kernels for parameters that are shared out are not there for every optimiser.
    fused = not sharing and fuses(fabric.device.type, _scales_loss(fabric))
    runs = Tail(model) if store else model
    norms = SharedNorms(runs) if world.size > 1 else None
    if config.memory.compile:
        runs, told = compiled(runs, fabric.device)
        origin = f"{origin}; {told}"
    if sharing:  # which puts other parameters into the model
        runs = fabric.setup_module(runs)
    optimizer = make_optimizer(model, config.optim, stage.lr or config.optim.lr, fused=fused)
    forward, wrapped = (runs, fabric.setup_optimizers(optimizer)) if sharing else fabric.setup(runs, optimizer)
    if not store:
        halve_frozen_weights(model, fabric)
    train_mode(model)
    ema = Ema(model, config.optim.ema) if config.optim.ema else None
    if store:
        seed, batch = stream_seed(config, number), stage.batch or config.batch
        share = Share(world.rank, world.size)
        loader = feature_loader(store, manifest, batch, shuffle=True, seed=seed, share=share)
    else:
        loader = _train_loader(config, manifest, stage, model.spec, number, fabric.device.type, world)
    schedule = _schedule(config, stage, len(loader))
    if resume:
        load_state(wrapped, join_optimizer(resume.optim, resume.optim_groups))
        schedule.load(resume.progress.schedule)
        if resume.scaler:
            fabric.strategy.precision.load_state_dict(resume.scaler)
        if ema:
            ema.load(resume.ema)
    return Part(stage, model, forward, wrapped, schedule, loader, ema, frozen, model.spec, together, norms), origin


def halve_frozen_weights(model: nn.Module, fabric: Fabric) -> None:
    """`halve_frozen` where it changes nothing else: a factorised model whose encoder is frozen as a whole, in mixed
    precision on a GPU. Sharded parameters (FSDP) must have one type."""
    precision = fabric.strategy.precision
    gpu = fabric.device.type == "cuda" and not isinstance(fabric.strategy, FSDPStrategy)
    if gpu and isinstance(precision, MixedPrecision) and isinstance(model, Factorised) and frozen_encoder(model):
        halve_frozen(model, torch.bfloat16 if precision.precision == "bf16-mixed" else torch.float16)


def _scales_loss(fabric: Fabric) -> bool:
    return getattr(fabric.strategy.precision, "scaler", None) is not None


def stream_seed(config: TrainConfig, number: int) -> int:
    """Seed of what is drawn for the clips of a stage: each has its own, or stage 2 would see stage 1's draws again."""
    return config.seed * 1000 + number


def _train_loader(
    config: TrainConfig, manifest: Manifest, stage: Stage, spec: InputSpec, number: int, device: str, world: World
) -> ClipLoader:
    seed = stream_seed(config, number)
    reading = Reading(
        spec, augmentation(config.clips.policy, manifest), seed=seed, decoder=settled(config.clips.decoder)
    )
    clips = ClipDataset(manifest, reading)
    workers = choose_workers(config.workers, device, len(clips))
    leave_cores(workers, device)
    return make_loader(
        clips,
        stage.batch or config.batch,
        shuffle=True,
        workers=workers,
        pin=device == "cuda",
        seed=seed,
        limit_s=config.clips.limit_s,
        share=Share(world.rank, world.size),
    )


def _schedule(config: TrainConfig, stage: Stage, steps_per_epoch: int) -> Schedule:
    epochs = config.epochs if stage.epochs is None else stage.epochs
    return Schedule(config.optim, stage.lr or config.optim.lr, epochs * steps_per_epoch, steps_per_epoch)
