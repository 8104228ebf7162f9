"""Conventional training, SFA online and SFA on stored features, over seeds: accuracy against training time.

Example: python docs/examples/features_once.py measure motion store:stores/motion runs/motion-32 results/motion-32.jsonl
         python docs/examples/features_once.py repeat motion store:stores/motion runs/again again.jsonl --repeats 4
         python docs/examples/features_once.py table results/motion-32.jsonl
         python docs/examples/features_once.py summary results/*.jsonl
         python docs/examples/features_once.py figure figure.svg results/*.jsonl

One process per run, one run at a time, all ways of a seed before the next seed, so that what changes on the machine
changes for all of them. A run that is finished is not run again. Each record is that of the run (`TrainRecord`) with
`way` and `curve`: [seconds of training, top-1] of each evaluation on the way. '{seed}' in the data stands for the seed:
a split of its own for each.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

# The settings of `kinelite demo`, and those of README for UT-Interaction.
SETTINGS = {
    "motion": "--model vivit_fe_nano --batch 8 --clips.sampling dense --clips.stride 1 --clips.policy none "
    "--optim.lr 5e-4 --optim.weight-decay 0.05",
    "ut-interaction": "--model vivit_fe_ti --size 112 --batch 4 --clips.policy flip --optim.lr 3e-4 "
    "--optim.layer-decay 0.75 --optim.weight-decay 0.05 --optim.label-smoothing 0.1",
}
NAMES = {
    "conventional": "conventional",
    "online": "SFA, frozen encoder in every epoch",
    "stored": "SFA, features stored once",
    "short": "SFA, features stored once, short stage 1",
}
"""Way -> how a table calls it."""


def measure(
    settings: Literal["motion", "ut-interaction"],
    data: str,
    out: Path,
    records: Path,
    frames: int = 32,
    epochs: int = 20,
    short: int | None = None,
    shorter: int | None = None,
    long: int = 6,
    stored: int = 12,
    views: int = 2,
    short_views: int | None = None,
    every: int = 4,
    seeds: tuple[int, ...] = (0, 1, 2),
    only: tuple[Literal["conventional", "online", "stored", "short"], ...] = (),
    pretrained: str | None = None,
) -> None:
    """Train all ways, write the records and print the table.

    Args:
        settings: of which set.
        data: prepared clips, so that no way waits for decoding.
        out: folder of the run folders.
        records: file that the records go into, one JSON object per line.
        frames: of conventional training and of stage 2.
        epochs: of conventional training.
        short: of stage 1 (None: as many as ``epochs``).
        shorter: of the short stage 1 (None: a third of ``epochs``).
        long: of stage 2 online.
        stored: of stage 2 on stored features, where an epoch costs almost nothing.
        views: stored of each training clip.
        short_views: the same behind the short stage 1, whose budget is half as large (None: ``views``).
        every: epochs between the evaluations that draw the curve; they are not part of the training time.
        seeds: which. Calls with different ones can share a machine's cores; one with all then writes the records.
        only: these ways, not all.
        pretrained: image weights.
    """
    common = [*SETTINGS[settings].split(), "--frames", str(frames), "--workers", "0", "--keep.eval-epochs", str(every)]
    common += ["--pretrained", pretrained] if pretrained else []
    first, third = short or epochs, shorter or max(1, epochs // 3)
    on_features = ["--features.mode", "stored", "--stages.1.epochs", str(stored), "--features.views"]
    ways = {
        "conventional": ["conventional", "--epochs", str(epochs)],
        "online": ["sfa", "--features.mode", "online", "--stages.0.epochs", str(first), "--stages.1.epochs", str(long)],
        "stored": ["sfa", "--stages.0.epochs", str(first), *on_features, str(views)],
        "short": ["sfa_short", "--stages.0.epochs", str(third), *on_features, str(short_views or views)],
    }
    ways = {way: flags for way, flags in ways.items() if not only or way in only}
    for seed in seeds:
        for way, (recipe, *flags) in ways.items():
            run = str(out / f"{way}-{seed}")
            place = ["--data", data.replace("{seed}", str(seed)), "--seed", str(seed), "--out", run]
            _train(recipe, *common, *flags, *place)
    found = [of_run(out / f"{way}-{seed}", way) for seed in seeds for way in ways]
    _write(records, found)
    table(records)


def repeat(
    settings: Literal["motion", "ut-interaction"],
    data: str,
    out: Path,
    records: Path,
    frames: int = 32,
    short: int = 20,
    long: int = 6,
    stored: int = 12,
    views: int = 2,
    repeats: int = 4,
    seeds: tuple[int, ...] = (0, 1, 2),
    only: tuple[Literal["online", "stored"], ...] = (),
    pretrained: str | None = None,
) -> None:
    """Train stage 1 once for each seed and stage 2 online and on stored features several times from it.

    On a small set two stages 2 of the same way differ by more than the ways do, so a single one of each says little.

    Args:
        settings: as in `measure`, like all that is not named here.
        data: as there.
        out: as there.
        records: as there; `repeats_table` prints them.
        frames: of stage 2.
        short: epochs of stage 1.
        long: of stage 2 online.
        stored: of stage 2 on stored features.
        views: stored of each training clip.
        repeats: stages 2 of each way and seed, at least two: other orders, other draws, another adapter.
        seeds: of stage 1.
        only: these ways, not both.
        pretrained: image weights.
    """
    if repeats < 2:
        sys.exit(f"--repeats {repeats}: give 2 or more, since what is asked is how far they lie apart.")
    common = [*SETTINGS[settings].split(), "--workers", "0", "--keep.eval-epochs", "0"]
    start = ["--pretrained", pretrained] if pretrained else []
    ways = {
        "online": ["--features.mode", "online", "--epochs", str(long)],
        "stored": ["--features.mode", "stored", "--epochs", str(stored), "--features.views", str(views)],
    }
    ways = {way: flags for way, flags in ways.items() if not only or way in only}
    found = []
    for seed in seeds:
        place, first = ["--data", data.replace("{seed}", str(seed))], str(out / f"stage1-{seed}")
        begun = ["--frames", "8", "--epochs", str(short), "--seed", str(seed), "--out", first]
        _train("conventional", *common, *start, *place, *begun)
        for again in range(repeats):
            for way, flags in ways.items():
                run = out / f"{way}-{seed}-{again}"
                drawn = ["--seed", str(100 * (again + 1) + seed), "--out", str(run)]
                _train("sfa_long", *common, *place, "--init", first, "--frames", str(frames), *flags, *drawn)
                found.append(of_run(run, way) | {"stage1_seed": seed})
    _write(records, found)
    repeats_table(records)


def _train(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "kinelite", "train", *arguments], check=True)


def _write(records: Path, found: Sequence[dict[str, Any]]) -> None:
    records.parent.mkdir(parents=True, exist_ok=True)
    records.write_text("".join(f"{json.dumps(record)}\n" for record in found))


def repeats_table(records: Path) -> None:
    """Print top-1 of repeated stages 2: mean and standard deviation of each stage 1, and the mean of those means."""
    print("\n".join(repeats_rows(records)))


def repeats_rows(path: Path) -> list[str]:
    """A Markdown table, a row per way; the last column's error is that of the mean over the repeats alone."""
    found = read(path)
    seeds = sorted({record["stage1_seed"] for records in found.values() for record in records})
    lines = [f"| | {' | '.join(f'seed {seed}' for seed in seeds)} | mean |", "|---" * (len(seeds) + 2) + "|"]
    for way, records in found.items():
        groups = [[100 * record["top1"] for record in records if record["stage1_seed"] == seed] for seed in seeds]
        cells = [f"{statistics.mean(group):.1f} ± {statistics.stdev(group):.1f} %" for group in groups]
        error = sum(statistics.variance(group) / len(group) for group in groups) ** 0.5 / len(groups)
        mean = statistics.mean(statistics.mean(group) for group in groups)
        lines.append(f"| {NAMES[way]} | {' | '.join(cells)} | {mean:.1f}, error {error:.1f} % |")
    return lines


def of_run(folder: Path, way: str) -> dict[str, Any]:
    """The record of a finished run, with its curve."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    curve = [[round(row["train_s"], 2), round(row["top1"], 4)] for row in rows if row["event"] == "eval"]
    return json.loads((folder / "record.json").read_text()) | {"way": way, "curve": curve}


def read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Way -> its records."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        found.setdefault(record["way"], []).append(record)
    return found


def rows(path: Path) -> list[str]:
    """A Markdown table: the mean over seeds, the time as a share of conventional training's of the same seeds."""
    found = read(path)
    whole = sum(record["train_seconds"] for record in found.get("conventional", ()))
    head = "| | top-1, mean ± sd | of which | training, mean | ratio | stage 1, pass, rest | peak memory |"
    lines = [head, f"|{'---|' * 7}"]
    for way, records in found.items():
        top1 = [100 * record["top1"] for record in records]
        seconds = [record["train_seconds"] for record in records]
        spread = f" ± {statistics.stdev(top1):.1f}" if len(top1) > 1 else ""
        cells = [NAMES[way], f"{statistics.mean(top1):.1f}{spread} %"]
        cells += [", ".join(f"{value:.1f}" for value in top1), f"{statistics.mean(seconds):.0f} s"]
        cells += [f"{sum(seconds) / whole:.3f}" if whole else "", parts(records)]
        cells += [f"{max(record['peak_memory_gib'] for record in records):.2f} GiB"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def parts(records: Sequence[dict[str, Any]]) -> str:
    """Mean seconds of stage 1, of the pass that stores features, and of what remains."""
    if len(records[0]["stages"]) == 1:
        return ""
    first = statistics.mean(record["stages"][0]["seconds"] for record in records)
    made = statistics.mean((record["stages"][1]["features"] or {}).get("seconds", 0.0) for record in records)
    rest = statistics.mean(record["train_seconds"] for record in records) - first - made
    return f"{first:.0f}, {made:.0f}, {rest:.0f} s"


def table(records: Path) -> None:
    """Print the table of a file of records."""
    print("\n".join(rows(records)))


def summary(records: list[Path]) -> None:
    """Print one table of several files of records, a column each."""
    print("\n".join(summary_rows(records)))


def summary_rows(paths: Sequence[Path]) -> list[str]:
    """Mean and standard deviation of top-1 over seeds, mean training time and its ratio to conventional training's."""
    lines = [f"| | {' | '.join(title(path) for path in paths)} |", "|---|" + "---|" * len(paths)]
    found = [read(path) for path in paths]
    for way, name in NAMES.items():
        cells = [_cell(records.get(way, ()), records.get("conventional", ())) for records in found]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cell(records: Sequence[dict[str, Any]], whole: Sequence[dict[str, Any]]) -> str:
    if not records:
        return ""
    top1 = [100 * record["top1"] for record in records]
    spread = f" ± {statistics.stdev(top1):.1f}" if len(top1) > 1 else ""
    seconds = statistics.mean(record["train_seconds"] for record in records)
    mean = f"{statistics.mean(top1):.1f}{spread} %, {seconds:.0f} s"
    if not whole:
        return mean
    return f"{mean}, **{seconds / statistics.mean(record['train_seconds'] for record in whole):.2f}**"


def title(path: Path) -> str:
    """'motion, 32 frames' of motion-32.jsonl."""
    name, _, frames = path.stem.rpartition("-")
    return f"{name}, {frames} frames"


def figure(out: Path, records: list[Path]) -> None:
    """Draw validation accuracy against seconds of training, one panel per file of records, as SVG or PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    columns, lines = min(2, len(records)), -(-len(records) // 2)
    drawn = Figure(figsize=(4.4 * columns, 3.2 * lines + 0.5), layout="constrained")
    for place, path in enumerate(records, 1):
        axes = drawn.add_subplot(lines, columns, place)
        for colour, (way, found) in enumerate(read(path).items()):
            for i, record in enumerate(found):
                seconds, top1 = zip(*record["curve"], strict=True)
                label = None if i or place > 1 else NAMES[way]
                axes.plot(seconds, [100 * value for value in top1], color=f"C{colour}", label=label, alpha=0.8, lw=1.2)
        axes.set(title=title(path), xscale="log", xlabel="seconds of training", ylabel="validation top-1 (%)")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    drawn.legend(loc="outside lower center", ncols=columns, fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(out, dpi=150)
    print(f"figure: {out}")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(
        {
            name: tyro.conf.configure(tyro.conf.PositionalRequiredArgs)(f)
            for name, f in {
                "measure": measure,
                "repeat": repeat,
                "table": table,
                "repeats_table": repeats_table,
                "summary": summary,
                "figure": figure,
            }.items()
        }
    )
