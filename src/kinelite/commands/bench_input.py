"""kinelite bench input SPEC: clips per second and milliseconds per stage, beside other libraries in the same run."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from kinelite.cli import parse
from kinelite.errors import UsageError, unknown
from kinelite.records import BenchRecord, append_jsonl, cores, environment, version


@dataclass(frozen=True)
class InputFlags:
    """Measure how fast clips are read: decoding, augmentation, batching, by Kinelite and by other libraries.

    Example: kinelite bench input folder:clips/ --also store:prepared/ --workers 2
    """

    spec: Annotated[str, tyro.conf.Positional]
    """Set of clips, or a folder with videos in it, labelled or not."""
    also: tuple[str, ...] = ()
    """Other forms of the same clips that Kinelite reads too, such as a prepared store:DIR."""
    peers: tuple[str, ...] = ("torchcodec", "torchcodec-exact", "decord")
    """What to compare with, each with torchvision's v2 transforms; those that are not installed are named and left
    out."""
    frames: int = 16
    """Frames per clip, sampled sparsely."""
    size: int = 224
    """Height and width of the result in pixels."""
    policy: str = "lightweight_kinetics"
    """Augmentation policy. `kinelite list policies`."""
    decoder: Literal["pyav", "torchcodec"] = "pyav"
    """What decodes video files for Kinelite: pyav or torchcodec."""
    workers: int = -1
    """Processes that read (-1: one for each core; 0: in this process)."""
    batch: int = 8
    """Clips per batch."""
    clips: int = 96
    """Clips per round."""
    rounds: int = 5
    """Rounds; in each, all pipelines read the same clips one after the other."""
    out: Path | None = None
    """JSON-lines file that the records are appended to."""


def main(args: list[str]) -> dict[str, Any]:
    """Measure, print the tables, append the records."""
    return run(parse(InputFlags, "kinelite bench input", args))


def run(flags: InputFlags) -> dict[str, Any]:
    """The measurement that ``flags`` ask for."""
    from kinelite.bench.input import measure, pipelines, ratios, stage_table
    from kinelite.bench.peers import PEERS
    from kinelite.data.augment import policy
    from kinelite.data.dataset import Reading
    from kinelite.data.readers import torchcodec_reader
    from kinelite.types import InputSpec

    for name in flags.peers:
        if name not in PEERS:
            raise unknown("peer", name, PEERS, "kinelite bench input --help")
    if min(flags.frames, flags.size, flags.batch, flags.clips, flags.rounds) < 1:
        raise UsageError("--frames, --size, --batch, --clips and --rounds: give 1 or more.")
    policy(flags.policy)
    if flags.decoder == "torchcodec":
        torchcodec_reader.require()
    workers = cores() if flags.workers < 0 else flags.workers
    reading = Reading(InputSpec(flags.frames, flags.size), flags.policy, decoder=flags.decoder, remember=False)
    sets = {f"kinelite {spec}": _rows(spec) for spec in (flags.spec, *flags.also)}
    clips = _same_clips(sets)
    print(
        f"{clips} clips, {flags.frames} frames of {flags.size} x {flags.size}, policy {flags.policy}, "
        f"{workers} workers of one thread on {cores()} cores; {flags.rounds} rounds of {flags.clips} clips."
    )
    found, absent = pipelines(sets, reading, workers, flags.batch, flags.peers)
    for name, reason in absent.items():
        print(f"Left out: {name}: {reason}.")
    try:
        rows = measure(found, clips, flags.rounds, flags.clips, lambda text: print(text, file=sys.stderr))
        stages = stage_table(found, clips, min(48, flags.clips))
    finally:
        for pipeline in found:
            pipeline.close()
    base = _base(rows, len(sets))
    ratios(rows, base)
    for row in rows:
        row["stage_ms"] = {name: round(ms, 3) for name, ms in stages[row["pipeline"]].items()}
    _print(rows, base)
    if flags.out:
        _keep(flags, flags.out, rows, workers, clips)
    ours = rows[0]
    return {
        "ratio": ours["ratio"],
        "clips_per_s": ours["clips_per_s"],
        "against": base,
        "pipelines": rows,
        "absent": absent,
        "out": str(flags.out or ""),
    }


def _same_clips(sets: dict[str, Any]) -> int:
    """How many clips each set holds. Raises UsageError where they cannot be the same clips."""
    counts = {name: len(rows) for name, rows in sets.items()}
    if len(set(counts.values())) > 1:
        held = ", ".join(f"{count} in {name.removeprefix('kinelite ')}" for name, count in counts.items())
        raise UsageError(f"Forms of the same clips hold as many each, but there are {held}. See: kinelite data check")
    return next(iter(counts.values()))


def _rows(spec: str) -> Any:
    from kinelite.data.sets import load_any

    return load_any(spec).rows


def _base(rows: list[dict[str, Any]], ours: int) -> str:
    """The fastest peer: a ratio to a slower one would flatter. Without a peer, our own first pipeline."""
    peers = rows[ours:] or rows[:1]
    return max(peers, key=lambda row: row["clips_per_s"])["pipeline"]


def _print(rows: list[dict[str, Any]], base: str) -> None:
    from rich.console import Console
    from rich.table import Table

    speed = Table("pipeline", "clips/s", "min to max", f"against {base}", "min to max ")
    for row in rows:
        speed.add_row(
            row["pipeline"],
            f"{row['clips_per_s']:.1f}",
            f"{row['clips_per_s_min']:.1f} to {row['clips_per_s_max']:.1f}",
            f"{row['ratio']:.2f} x",
            f"{row['ratio_min']:.2f} to {row['ratio_max']:.2f}",
        )
    names = list(dict.fromkeys(name for row in rows for name in row["stage_ms"]))
    stages = Table("ms per clip, one thread", *names, "sum")
    for row in rows:
        values = [row["stage_ms"].get(name) for name in names]
        sums = sum(value for value in values if value is not None)
        stages.add_row(row["pipeline"], *("-" if v is None else f"{v:.2f}" for v in values), f"{sums:.2f}")
    console = Console()
    console.print(speed)
    console.print(stages)


def _versions() -> dict[str, str | None]:
    """Of the libraries that read and augment, beside those that every record names."""
    names = ("opencv-python-headless", "torchvision", "torchcodec", "decord")
    return {name: version(name) for name in names}


def _keep(flags: InputFlags, out: Path, rows: list[dict[str, Any]], workers: int, clips: int) -> None:
    for row in rows:
        record = BenchRecord(
            model=row["pipeline"],
            mode="input",
            device="cpu",
            data=flags.spec,
            frames=flags.frames,
            size=flags.size,
            batch=flags.batch,
            config={
                **asdict(flags),
                "out": str(out),
                "workers": workers,
                "clips_in_set": clips,
                "versions": _versions(),
            },
            figures=row,
            command=shlex.join(["kinelite", *sys.argv[1:]]),
            environment=environment(),
        )
        append_jsonl(out, record)
    print(f"Records: {out}")
