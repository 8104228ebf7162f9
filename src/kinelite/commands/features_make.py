"""kinelite features make MODEL --data SPEC --out DIR"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from kinelite.cli import parse
from kinelite.commands.progress import bar
from kinelite.config import NetConfig, SplitConfig
from kinelite.errors import UsageError
from kinelite.ranks import find_ranks

if TYPE_CHECKING:
    from kinelite.data.manifest import Manifest
    from kinelite.train.device import Placement
    from kinelite.train.features.source import Source
    from kinelite.train.features.store import FeatureStore


@dataclass(frozen=True)
class FeaturesMakeFlags:
    """Encode all clips of a set once, by the encoder of a trained run or of a model with published weights.

    Example: kinelite features make vivit_fe_ti --pretrained hub --data folder:clips/ --out features/clips
    """

    model: Annotated[str, tyro.conf.Positional]
    """Run folder, a weight file that kinelite train wrote, MODEL@WEIGHTS, or the name of a model with --pretrained."""
    out: Path
    """Folder of the features, one store in it for each split. What is unfinished is continued, by several processes at
    once if so many are started."""
    data: str | None = None
    """Set of clips, such as folder:clips/ (default: the one that the run was trained on)."""
    pretrained: str | None = None
    """Weights of a model that is named, as in kinelite train: hub, a release, hf:OWNER/REPOSITORY, a file."""
    on: Literal["train", "val", "test", "all"] = "all"
    """Split to encode. Clips of val and test get one view, the test view."""
    views: int = 4
    """Views of each training clip: the first is the test view, the others are drawn as training clips are."""
    phases: int = 1
    """Moments of each tubelet, an odd number."""
    precision: Literal["fp16", "bf16", "fp32"] = "fp16"
    """Type that features are stored in."""
    compute: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the encoder; auto: bf16 where the device is fast at it, else fp32."""
    frames: int | None = None
    """Frames per clip (default: those of the run, or the model's own)."""
    size: int | None = None
    """Height and width in pixels of a model that is named (default: the model's own)."""
    policy: str = "auto"
    """Augmentation policy of the drawn views; auto takes the one that the set names."""
    seed: int = 0
    """Seed of the drawn views."""
    workers: int = -1
    """Processes that decode clips (0: none, -1: chosen from the number of cores)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    decoder: Literal["pyav", "torchcodec"] = "pyav"
    """What decodes video files."""
    limit_s: float = 60.0
    """Seconds that a worker may spend on one view of a clip before the clip is given up."""
    max_skipped: float = 0.05
    """Share of undecodable clips above which the exit code is 4."""
    max_disk_gib: float = 0.0
    """Largest store (0: what the disk has free)."""
    chunk_frames: int = 0
    """Frames that the encoder sees at a time (0: chosen for the device)."""
    compile: bool = False
    """Compile the encoder with torch.compile: worth its minutes on large sets."""
    net: NetConfig = field(default_factory=NetConfig)
    split: SplitConfig = field(default_factory=SplitConfig)


def main(args: list[str]) -> dict[str, Any]:
    """Parse and run."""
    flags = parse(FeaturesMakeFlags, "kinelite features make", args)
    return run(flags, any(arg.startswith("--split.") for arg in args))


def run(flags: FeaturesMakeFlags, own_split: bool = False) -> dict[str, Any]:
    """Make or continue the stores of the splits; exit code 4 when too many clips cannot be read.

    ``own_split``: ``flags.split`` holds, and not the rule that the run was trained with.
    """
    from kinelite.data.sets import load_set
    from kinelite.train.device import place
    from kinelite.train.features.source import load_source

    began = time.monotonic()
    _check(flags)
    source = load_source(flags.model, flags.pretrained, flags.net, flags.frames, flags.size)
    data = flags.data or source.data
    if data is None:
        raise UsageError(f"'{flags.model}' does not say which clips. Name a set: --data folder:ROOT")
    parts = _parts(load_set(data, flags.split if own_split or not source.split else source.split), flags.on)
    placement = place(flags.device, flags.compute)
    print(f"{source.name} on {placement.device}: {placement.reason}.")
    stores = {part.rows[0].split: _make(flags, source, part, placement) for part in parts}
    return _told(flags, stores, time.monotonic() - began)


def _check(flags: FeaturesMakeFlags) -> None:
    if flags.workers < -1:
        raise UsageError(f"--workers {flags.workers}: give -1 (chosen), 0 (none) or more.")
    for name in ("max_disk_gib", "max_skipped", "chunk_frames"):
        if not getattr(flags, name) >= 0:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(flags, name)}: give 0 or more.")
    if not flags.limit_s > 0:
        raise UsageError(f"--limit-s {flags.limit_s}: give a positive number of seconds.")


def _parts(whole: Manifest, on: str) -> list[Manifest]:
    names = [name for name in ("train", "val", "test") if name in whole.splits()] if on == "all" else [on]
    parts = [whole.only(name) for name in names]
    if not parts or not all(part.rows for part in parts):
        raise UsageError(f"'{whole.name}' has no split '{on}'; it has {whole.splits()}. Choose with --on.")
    return parts


def _make(flags: FeaturesMakeFlags, source: Source, manifest: Manifest, placement: Placement) -> FeatureStore:
    """The store of one split."""
    from kinelite.data.loader import choose_workers, leave_cores
    from kinelite.train.build import augmentation
    from kinelite.train.features.extract import Means, extract
    from kinelite.train.features.key import make_key
    from kinelite.train.features.room import estimate
    from kinelite.train.features.store import missing_clips, store_folder
    from kinelite.train.interrupted import stop_signals

    split = manifest.rows[0].split
    folder = store_folder(flags.out, split)
    compute: Any = placement.precision
    key = make_key(
        source.model,
        manifest,
        net=source.net,
        views=flags.views if split == "train" else 1,
        phases=flags.phases,
        policy=augmentation(flags.policy, manifest),
        seed=flags.seed,
        precision=flags.precision,
        compute=compute,
    )
    workers = choose_workers(flags.workers, placement.accelerator, key.clips)
    leave_cores(workers, placement.accelerator)
    means = Means(
        placement.device,
        workers,
        flags.decoder,
        flags.limit_s,
        flags.chunk_frames,
        flags.compile,
        flags.max_disk_gib,
    )
    todo = missing_clips(folder, key)
    print(f"{split}: {key.clips} clips, {key.clips - todo} of them are in '{folder}' already.")
    if todo and find_ranks().first:  # torchrun and srun start several, which share the blocks
        print(f"  {key.views} views each; the store takes {estimate(source.model, manifest, key, means, todo)}.")
    with stop_signals(_stopping) as stop, bar(f"{split} clips encoded") as tick:
        return extract(source.model, manifest, key, folder, means, tick, stop)


def _stopping(name: str) -> None:
    print(f"{name}: finishing the clips at hand ...", file=sys.stderr)


def _told(flags: FeaturesMakeFlags, stores: dict[str, FeatureStore], seconds: float) -> dict[str, Any]:
    skipped = {split: store.problems() for split, store in stores.items()}
    for split, problems in skipped.items():
        if problems:
            first = next(iter(problems.values()))
            print(f"{len(problems)} of {stores[split].clips} {split} clips cannot be decoded: {first}")
    print(f"Features in {flags.out}. Next: kinelite features export {flags.out} --out DIR")
    share = max(len(problems) / stores[split].clips for split, problems in skipped.items())
    return {
        "out": flags.out.as_posix(),
        "splits": {
            split: {
                "folder": store.folder.as_posix(),
                "clips": store.clips,
                "views": store.views,
                "tubelets": store.tubelets,
                "phases": store.phases,
                "width": store.width,
                "precision": store.key.precision,
                "bytes": store.bytes,
                "skipped": [{"clip": clip, "reason": reason} for clip, reason in skipped[split].items()],
            }
            for split, store in stores.items()
        },
        "seconds": round(seconds, 3),
        "exit_code": 4 if share > flags.max_skipped else 0,
    }
