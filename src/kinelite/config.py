"""The one source of flags, help, saved JSON and Python arguments: frozen dataclasses.

``TrainConfig`` describes a whole training run. Its plain fields are the everyday flags; nested groups are reached by
dotted names (``--optim.name sgd``, ``--stages.1.epochs 5``). A stage field left at None takes the run's own value.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import tyro

from kinelite.errors import UsageError
from kinelite.types import Fit, Sampling


@dataclass(frozen=True)
class SplitConfig:
    """How clips are divided when the set does not say."""

    val_fraction: float = 0.2
    """Share of the clips (of the groups, when grouped) that is held out, per class as far as possible."""
    group: str | None = None
    """Regular expression; what it captures in a clip's path (relative to the root) is its group. A group never stands
    on both sides of the split. Example: 'person(\\d+)'."""
    folds: int = 0
    """Cross-validation instead of a random split: number of folds over groups (0: off)."""
    fold: int = 0
    """Which fold is held out, from 0."""
    seed: int = 0
    """Seed of the split; separate from the training seed so that seeds are compared on the same split."""


@dataclass(frozen=True)
class ClipConfig:
    """How a clip becomes the frames that the model sees."""

    sampling: Sampling | None = None
    """sparse: one frame per equal segment. dense: every stride-th frame of a window. Default: the model's own."""
    stride: int | None = None
    """Distance between frames under dense sampling. Default: the model's own."""
    fit: Fit | None = None
    """squash: resize to size x size. crop: short side to size, then crop. Default: the model's own."""
    policy: str = "auto"
    """Augmentation policy; auto takes the one that the set names. `kinelite list policies`."""
    limit_s: float = 60.0
    """Seconds that a worker may spend on one clip before the clip is given up (there is no limit without workers)."""
    max_skipped: float = 0.05
    """Share of undecodable clips that an evaluation accepts before it fails."""
    decoder: Literal["auto", "pyav", "torchcodec"] = "auto"
    """What decodes video files. auto: PyAV, or TorchCodec where it is installed, faster on clips of the set, and gives
    the same frames."""


@dataclass(frozen=True)
class NetConfig:
    """What is built beside the model's own defaults; None keeps the default of the named model, and what a
    model does not have is refused."""

    encoder: str | None = None
    """Any timm image model of the right kind as the spatial encoder: vit_small_patch14_dinov2 for ViViT-FE."""
    tubelet: int | None = None
    """Frames per tubelet."""
    inflate: Literal["central", "average"] = "central"
    """How an image's patch weights become tubelet weights: all in the central frame, or spread evenly."""
    temporal_layers: int | None = None
    """Layers of the temporal transformer."""
    attention: Literal["divided", "joint", "space"] | None = None
    """TimeSformer: time then space, both at once, or space alone."""
    temporal: Literal["transformer", "probe", "mean"] | None = None
    """What a factorised model joins its features over time with: the transformer of the paper, an attentive probe (one
    learned query, one cross-attention), or their mean."""
    pool: Literal["token", "mean", "both"] | None = None
    """What a vision transformer says of a tubelet: its class token, the mean of its patches, or both side by side."""
    drop_path: float | None = None
    """Stochastic depth of the last layer; it rises linearly from 0."""
    dropout: float | None = None
    """Dropout before the classifier."""


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, schedule and regularisation."""

    name: Literal["sgd", "adamw"] = "adamw"
    """sgd has momentum 0.9 as in ViViT."""
    lr: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 1e-5
    """Decay of matrices; biases, norms, positions and class tokens take none."""
    momentum: float = 0.9
    """Momentum of SGD."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """cosine: linear warm-up, then cosine to 0. plateau: times plateau_factor when validation stands still."""
    warmup_epochs: float = 1.0
    """Length of the linear warm-up, in epochs."""
    plateau_factor: float = 0.1
    """Factor on the learning rate at a plateau."""
    plateau_patience: int = 2
    """Evaluations without progress that are let pass; the next one applies the factor (as ReduceLROnPlateau does)."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient (0: not clipped)."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes."""
    mixup: float = 0.0
    """Alpha of the Beta distribution that two clips are blended with (0: off)."""
    cutmix: float = 0.0
    """Alpha of the Beta distribution for the size of a cuboid that shows another clip (0: off). With mixup too, half of
    the steps do the one and half the other."""
    videomix: Literal["spatial", "temporal", "spatiotemporal"] = "spatial"
    """What cutmix replaces: a box in all frames, some frames as a whole, or a box in some frames (VideoMix)."""
    ema: float = 0.0
    """Decay per step of the averaged weights that are evaluated and kept (0: off)."""
    layer_decay: float = 1.0
    """Learning rate of each encoder layer relative to the layer above it (1: all equal)."""


@dataclass(frozen=True)
class Stage:
    """One stage of training. A field that is None takes the run's value."""

    name: str = "train"
    """Used in the log, in checkpoints and in the report."""
    frames: int | None = None
    """Frames per clip in this stage."""
    epochs: int | None = None
    """Passes over the training clips in this stage."""
    freeze: tuple[str, ...] = ()
    """Patterns over parameter names ('encoder.*'); what matches stays still. A pattern without a match is an error."""
    adapter: bool = False
    """Put the two-layer adapter between encoder and temporal transformer from this stage on."""
    init: Literal["previous", "pretrained"] = "previous"
    """Start from the stage before (the first one starts from --pretrained or --init), or from --pretrained again."""
    lr: float | None = None
    """Peak learning rate of this stage."""
    batch: int | None = None
    """Clips per step in this stage."""
    micro_batch: int | Literal["auto"] | None = None
    """Clips per forward pass in this stage."""
    size: int | None = None
    """Height and width in pixels in this stage."""
    drop_tokens: float = 0.0
    """Share of a vision transformer's patches that a training step leaves out, at random (0: none)."""


@dataclass(frozen=True)
class FeaturesConfig:
    """Stages whose encoder is frozen as a whole: its features computed once and stored, or again in each epoch."""

    mode: Literal["auto", "online", "stored"] = "auto"
    """online: the encoder runs in every epoch. stored: once, and epochs read its features. auto: what takes less time
    by an estimate, stored only where the disk has room; the estimate is printed."""
    views: int = 4
    """Stored views of each training clip: the first is the test view, the others are drawn as training clips are."""
    phases: int = 1
    """Stored moments of each tubelet, an odd number: from 3 on each epoch draws another sparse sample of them."""
    precision: Literal["fp16", "bf16", "fp32"] = "fp16"
    """Type that features are stored in."""
    folder: Path | None = None
    """Folder of stored features, to be used by several runs (default: in the run folder)."""
    max_disk_gib: float = 0.0
    """Largest store (0: what the disk has free)."""


@dataclass(frozen=True)
class MemoryConfig:
    """Less memory for the same result."""

    chunk_frames: int = 0
    """Frames that a frozen encoder sees at a time (0: chosen so that memory does not grow with the clip)."""
    recompute: bool = False
    """Keep only what goes into each transformer block that trains and compute the rest again for the gradient."""
    compile: bool = False
    """Compile the model with torch.compile: worth its minutes in long runs."""


@dataclass(frozen=True)
class KeepConfig:
    """Checkpoints, evaluation during training and when to stop."""

    every_steps: int = 0
    """Write a checkpoint every so many steps (0: by time and at the end of each epoch)."""
    every_s: float = 300.0
    """Write a checkpoint at least this often, in seconds."""
    last: int = 2
    """How many checkpoints are kept."""
    eval_epochs: int = 1
    """Evaluate every so many epochs, and always after the last (0: only at the end of the run)."""
    select: Literal["last", "best"] = "last"
    """Which weights the run ends with. best looks at the validation split: keep a separate test split then."""
    early_stop: int = 0
    """Stop a stage after so many evaluations without progress (0: off)."""
    strips: int = 6
    """How many of the worst clips are kept as strips of frames for the report."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run, as saved in config.json and as accepted by `kinelite.train`."""

    recipe: tyro.conf.Suppress[str] = "conventional"
    """Name of the recipe that made this config."""
    data: str = "motion"
    """Set of clips: motion, folder:ROOT, csv:FILE."""
    model: str = "vivit_fe_ti"
    """Model to train: `kinelite list models`."""
    pretrained: str | None = None
    """Weights to start from: 'hub', a release that `kinelite info MODEL` names, hf:OWNER/REPOSITORY[/FILE], an https
    address, or a file (image weights of the encoder, or a whole model)."""
    init: str | None = None
    """Run folder or weight file of a finished Kinelite run to start from; its classes may differ."""
    temporal_init: str | None = None
    """VideoMAE checkpoint (any source that --pretrained takes) of which the transformer over time starts from the
    last blocks; their width must be its own."""
    out: Path = Path("runs/train")
    """Run folder. An unfinished run in it is continued."""
    frames: int = 32
    """Frames per clip."""
    size: int | None = None
    """Height and width in pixels (default: the model's own)."""
    epochs: int = 30
    """Passes over the training clips, in each stage that does not say otherwise."""
    batch: int = 16
    """Clips per optimiser step."""
    micro_batch: int | Literal["auto"] = 0
    """Clips per forward pass; the gradient is that of the whole batch (0: the whole batch at once). auto: as many as
    the device has memory for, by the planner; `--batch auto` says the same."""
    seed: int = 0
    """Seed of weights, order, augmentation, mixup and stochastic depth."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the device is fast at it, else fp32."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """Under torchrun or srun. auto, ddp: every process holds the model. fsdp: they share it out."""
    workers: int = -1
    """Processes that decode clips (0: none, -1: chosen from the number of cores)."""
    max_hours: float = 0.0
    """Stop training after so many hours, keep what was learnt and evaluate it (0: no limit)."""
    split: SplitConfig = field(default_factory=SplitConfig)
    clips: ClipConfig = field(default_factory=ClipConfig)
    net: NetConfig = field(default_factory=NetConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    keep: KeepConfig = field(default_factory=KeepConfig)
    stages: tuple[Stage, ...] = (Stage(),)

    def resolved(self) -> TrainConfig:
        """The same config with every stage field filled in, so that the saved JSON leaves nothing to guess."""
        stages = tuple(
            replace(
                stage,
                frames=_first(stage.frames, self.frames),
                epochs=_first(stage.epochs, self.epochs),
                lr=_first(stage.lr, self.optim.lr),
                batch=_first(stage.batch, self.batch),
                micro_batch=_first(stage.micro_batch, self.micro_batch) or _first(stage.batch, self.batch),
                size=_first(stage.size, self.size),
            )
            for stage in self.stages
        )
        return replace(self, stages=stages)


def _first(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def to_json(config: Any) -> dict[str, Any]:
    """Plain JSON values of a config dataclass."""
    return msgspec.json.decode(msgspec.json.encode(config, enc_hook=_encode))


def from_json(data: Any, kind: type = TrainConfig) -> Any:
    """A config from plain JSON values. Raises UsageError naming the field that does not fit."""
    try:
        return msgspec.convert(data, kind, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise UsageError(f"This is not a {kind.__name__}: {error}. Its fields: kinelite train --help") from error


def differences(a: Any, b: Any) -> dict[str, tuple[Any, Any]]:
    """Dotted field name -> (value in a, value in b) wherever two configs differ."""
    flat_a, flat_b = flatten(to_json(a)), flatten(to_json(b))
    names = [*flat_a, *(name for name in flat_b if name not in flat_a)]
    return {n: (flat_a.get(n), flat_b.get(n)) for n in names if flat_a.get(n) != flat_b.get(n)}


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """JSON values as dotted field name -> value; a list of objects by position."""
    if isinstance(tree, dict):
        pairs: Any = tree.items()
    elif isinstance(tree, list) and tree and isinstance(tree[0], dict):
        pairs = enumerate(tree)
    else:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in pairs:
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    raise NotImplementedError(f"{type(value)} in a config")


def _decode(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"{kind} in a config")
