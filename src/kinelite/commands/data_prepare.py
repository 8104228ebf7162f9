"""kinelite data prepare SPEC --out DIR"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from kinelite.cli import parse
from kinelite.commands.progress import bar
from kinelite.config import SplitConfig
from kinelite.errors import DataError, SetupError, UsageError
from kinelite.ranks import Alone, cores_here, find_ranks
from kinelite.records import cores

if TYPE_CHECKING:
    from kinelite.data.prepare.estimate import Estimate
    from kinelite.data.prepare.job import Prepared
    from kinelite.data.prepare.plan import Plan
    from kinelite.data.prepare.store import Entry, Settings
    from kinelite.data.prepare.trial import Try
    from kinelite.train.world import World

GIB = 2**30
DEFAULT_SHORT_SIDE = 256


@dataclass(frozen=True)
class PrepareFlags:
    """Decode a set once into small files that are fast to read. The result is a set itself: store:DIR

    Example: kinelite data prepare folder:clips/ --out stores/clips --short-side 256
    """

    spec: Annotated[str, tyro.conf.Positional]
    """Set of clips, such as folder:clips/ or csv:labels.csv."""
    out: Path
    """Folder of the store. One that is not finished is continued."""
    short_side: int | None = None
    """Shrink larger frames to this short side, in pixels (256 unless --size is given)."""
    size: int | None = None
    """Squash frames to size x size pixels."""
    frames: int | None = None
    """Keep so many frames of each clip, one per equal segment (default: all)."""
    fps: float | None = None
    """Keep so many frames per second."""
    stride: int | None = None
    """Keep every so many-th frame."""
    format: Literal["auto", "h264", "jpeg", "raw", "raw-yuv"] = "auto"
    """auto: the fastest to read that is at most twice as large as the originals, tried on a few clips."""
    quality: int | None = None
    """Of h264: constant rate factor, less is better (20). Of jpeg: 1 to 100 (90)."""
    gop: int | None = None
    """Of h264: every so many-th frame stands alone (2). 1 is the fastest to read, more is smaller."""
    workers: int = -1
    """Processes (-1: one per core, 0: none of its own)."""
    shard: str = "1/1"
    """Share of the clips that this machine prepares, such as 2/4 for the second of four machines."""
    max_disk_gib: float = 0.0
    """Stop before the store grows larger than this (0: no limit)."""
    force: bool = False
    """Begin even if the disk looks too small."""
    verify: bool = False
    """Read every finished clip again, compare its checksum, and make damaged ones anew."""
    limit_s: float = 1800.0
    """Seconds that one clip may take before it is given up."""
    max_skipped: float = 0.05
    """Share of undecodable clips above which the exit code is 4."""
    split: SplitConfig = field(default_factory=SplitConfig)


def main(args: list[str]) -> dict[str, Any]:
    """Parse and run."""
    return run(parse(PrepareFlags, "kinelite data prepare", args))


def run(flags: PrepareFlags) -> dict[str, Any]:
    """Prepare, continue or verify a store; exit code 3 when it does not fit, 4 when too many clips cannot be read."""
    from kinelite.data.prepare.job import Prepared, prepare
    from kinelite.data.prepare.plan import finished, make_plan
    from kinelite.data.prepare.store import Shard
    from kinelite.data.sets import load_set

    began = time.monotonic()
    _check(flags)
    manifest, world = load_set(flags.spec, flags.split), _world()
    shard = Shard.parse(flags.shard).part(world.rank, world.size)
    plan = make_plan(manifest, flags.out, _settings(flags), shard)
    found = None
    if world.first and flags.format == "auto" and not _exists(flags.out):
        found = _automatic(plan, flags)
        plan = plan.with_settings(found.settings)
    plan = plan.with_settings(world.firsts(plan.card.settings))
    done = finished(plan)
    damaged = _verify(plan, done) if flags.verify else []
    mine, there = (sum(column) for column in zip(*world.counts(len(plan.mine()), len(done)), strict=True))
    print(f"{mine} clips of '{flags.spec}', {there} of them are in '{flags.out}' already.")
    if mine > there and world.first:
        _weigh(plan, mine - there, flags, found)
    world.wait()  # nothing is written before it is known to fit
    with bar("clips prepared") as tick:
        limit = flags.max_disk_gib * GIB or float("inf")
        workers = cores_here() if flags.workers < 0 else flags.workers
        result = prepare(
            plan, done, workers=workers, max_bytes=limit / world.size, limit_s=flags.limit_s, progress=tick
        )
    parts, damaged = world.everyones(result), [file for files in world.everyones(damaged) for file in files]
    result = Prepared(**{f.name: sum(getattr(part, f.name) for part in parts) for f in fields(Prepared)})
    return _told(flags, plan, result, damaged, time.monotonic() - began)


def _world() -> World | Alone:
    """The processes that torchrun or srun started together: each makes a share of the clips."""
    if find_ranks().size == 1:
        return Alone()
    from kinelite.train.world import join

    return join()


def _check(flags: PrepareFlags) -> None:
    if flags.format == "auto" and (flags.quality is not None or flags.gop is not None):
        raise UsageError("--quality and --gop belong to a format: say --format h264 or --format jpeg.")
    for name in ("max_disk_gib", "max_skipped"):
        if not getattr(flags, name) >= 0:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(flags, name)}: give 0 or more.")
    if not flags.limit_s > 0:
        raise UsageError(f"--limit-s {flags.limit_s}: give a positive number of seconds.")
    if flags.workers < -1:
        raise UsageError(f"--workers {flags.workers}: give -1 (one per core), 0 or more.")


def _settings(flags: PrepareFlags) -> Settings:
    from kinelite.data.prepare.store import DEFAULT_QUALITY, Settings, read_card

    format = "h264" if flags.format == "auto" else flags.format
    chosen = Settings(
        format=format,
        quality=DEFAULT_QUALITY[format] if flags.quality is None else flags.quality,
        gop=(2 if format == "h264" else 1) if flags.gop is None else flags.gop,
        short_side=DEFAULT_SHORT_SIDE if flags.short_side is None and flags.size is None else flags.short_side,
        size=flags.size,
        frames=flags.frames,
        fps=flags.fps,
        stride=flags.stride,
    )
    if flags.format == "auto" and _exists(flags.out):  # a store that is continued keeps its format
        old = read_card(flags.out).settings
        chosen = replace(chosen, format=old.format, quality=old.quality, gop=old.gop)
    return chosen


def _verify(plan: Plan, done: dict[int, Entry]) -> list[str]:
    """Take damaged clips out of ``done``, so that they are made anew."""
    from kinelite.data.prepare.plan import verify

    with bar("clips compared") as tick:
        damaged = verify(plan, done, tick)
    print(f"{len(done)} finished clips were read again, {len(damaged)} of them are damaged.")
    files = {task.target: task.clip for task in plan.tasks(sorted(done))}
    for file in damaged:
        print(f"  {file}: is not what was written; it is made anew.")
        del done[files[file]]
    return damaged


def _weigh(plan: Plan, todo: int, flags: PrepareFlags, found: Estimate | None) -> None:
    """Say what it will take, and refuse what does not fit."""
    from kinelite.data.prepare.estimate import estimate, free_bytes

    if found is None:
        try:
            with _trials(flags) as attempt:
                found = estimate([plan.clips[clip] for clip in plan.mine()], plan.card.settings, attempt)
        except DataError as error:
            # A shard of few clips may have none that decodes; the store is whole only when it says so.
            if not flags.force and plan.shard.of == 1:
                raise DataError(f"{error}. To prepare the others anyway: --force") from error
            print(f"{error}. How much space and time the others take is not known.")
            return
    size, free = found.bytes_per_clip * todo, free_bytes(plan.folder)
    workers = max(1, cores() if flags.workers < 0 else flags.workers)
    seconds = found.seconds_per_clip * todo / min(workers, todo, cores())
    print(
        f"{todo} to prepare as {_words(plan.card.settings)}: about {_size(size)} "
        f"({found.share:.1f} times the originals) and {_duration(seconds)} with {workers} processes, "
        f"judging by {found.clips} clips. {_size(free)} are free in '{flags.out}'."
    )
    if flags.force:
        return
    if 1.05 * size > free:
        raise SetupError(
            f"About {_size(size)} do not fit into the {_size(free)} that are free. Choose another --out, a smaller "
            "--short-side, --frames, a smaller --format, or --force."
        )
    if flags.max_disk_gib and size > flags.max_disk_gib * GIB:
        raise SetupError(f"About {_size(size)} are more than --max-disk-gib {flags.max_disk_gib:g}. Or add --force.")


def _exists(folder: Path) -> bool:
    from kinelite.data.prepare.store import CARD

    return (folder / CARD).exists()


@contextmanager
def _trials(flags: PrepareFlags) -> Iterator[Try]:
    """What prepares a clip for trial: a process of its own, unless there are to be none."""
    from kinelite.data.prepare.trial import guarded, trial

    if flags.workers == 0:
        yield trial
        return
    with guarded(flags.limit_s) as attempt:
        yield attempt


def _automatic(plan: Plan, flags: PrepareFlags) -> Estimate:
    from kinelite.data.prepare.estimate import LARGEST_SHARE, choose_format

    with _trials(flags) as attempt:
        found = choose_format(plan.clips, plan.card.settings, attempt)
    rule = f"fastest to read of those up to {LARGEST_SHARE:g} times their size"
    why = f"the {rule}" if found.share <= LARGEST_SHARE else f"the smallest; none is the {rule}"
    print(f"Format {_words(found.settings)}: {found.share:.2f} times the originals, {why}.")
    return found


def _told(flags: PrepareFlags, plan: Plan, result: Prepared, damaged: list[str], seconds: float) -> dict[str, Any]:
    from kinelite.data.prepare.store import Shard

    print(f"{result.made} clips prepared in {_duration(seconds)}; the store holds {_size(result.bytes)}.")
    if result.cut:
        print(f"{result.cut} clips end early, where their originals are damaged.")
    if result.failed:
        print(f"{result.failed} of {result.clips} originals cannot be decoded and are left out: {plan.failed}")
    share = result.failed / max(1, result.clips)
    shards = Shard.parse(flags.shard).of
    if shards == 1:
        print(f"Next: kinelite train sfa --data store:{flags.out}")
    else:
        print(f"When all {shards} shards are done and in one folder: kinelite data check store:{flags.out}")
    return {
        "out": flags.out.as_posix(),
        "clips": result.clips,
        "made": result.made,
        "failed": result.failed,
        "cut": result.cut,
        "damaged": damaged,
        "bytes": result.bytes,
        "seconds": round(seconds, 3),
        "format": plan.card.settings.format,
        "quality": plan.card.settings.quality,
        "gop": plan.card.settings.gop,
        "exit_code": 4 if share > flags.max_skipped else 0,
    }


def _words(settings: Settings) -> str:
    quality = f" at {settings.quality}" if settings.quality else ""
    return f"{settings.format}{quality}" + (f" in groups of {settings.gop}" if settings.gop > 1 else "")


def _size(count: int | float) -> str:
    return f"{count / GIB:.2f} GiB" if count >= GIB / 10 else f"{count / 2**20:.1f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
