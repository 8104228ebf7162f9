"""kinelite demo"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinelite.cli import parse
from kinelite.errors import RunError

DATA = "motion:2400"
# Dense sampling as in ViViT: the encoder that stage 2 freezes has seen frames at the distance that stage 2 shows them.
SETTINGS = (
    *("--data", DATA, "--model", "vivit_fe_nano", "--frames", "32", "--batch", "8"),
    *("--clips.sampling", "dense", "--clips.stride", "1", "--clips.policy", "none"),
    *("--optim.lr", "5e-4", "--optim.weight-decay", "0.05"),
    # So small a model takes no longer for a clip than its decoding: one core for each.
    *("--workers", "1"),
)
# As many as each needs until its validation curve is flat. Nothing is drawn of these clips but a window, so one view is
# enough (docs/log.md: fewer epochs and four views gave 97 % on one processor and 94 on another).
EPOCHS = {
    "conventional": ("--epochs", "20"),
    "sfa": ("--stages.0.epochs", "14", "--stages.1.epochs", "8", "--features.views", "1"),
}
RECIPES = ("conventional", "sfa")


@dataclass(frozen=True)
class DemoFlags:
    """The whole story on built-in clips: train the same model conventionally and with SFA, compare, label unseen clips.

    Example: kinelite demo
    """

    out: Path = Path("runs/demo")
    """Folder of both runs, comparison.json and the page."""
    seed: int = 0
    """Seed of both runs."""
    device: str = "auto"
    """auto, cpu, cuda, mps."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse, train both, compare, predict."""
    flags = parse(DemoFlags, "kinelite demo", args)
    from kinelite.data.sets.motion import make_motion

    print(
        f"Demo on '{DATA}': clips whose classes differ only in motion, so one frame says nothing about the class.",
        flush=True,
    )
    make_motion(int(DATA.partition(":")[2]))
    results = {name: _train(name, flags) for name in RECIPES}
    comparison = compare(results)
    from kinelite.records import write_json
    from kinelite.report.page import make_report

    write_json(flags.out / "comparison.json", comparison)
    page = make_report([flags.out / name for name in RECIPES], flags.out)
    _print_table(results, comparison["ratio"])
    _predict(flags.out / "sfa")
    print(f"Page: {page}. Numbers: {flags.out / 'comparison.json'}.")
    print("Next, on your own clips: kinelite train sfa --data folder:YOUR/CLIPS --model vivit_fe_ti --out runs/mine")
    return comparison | {"page": str(page)}


def _train(name: str, flags: DemoFlags) -> dict[str, Any]:
    """One recipe in a process of its own, so that its peak memory is its own too."""
    out = flags.out / name
    print(f"\n{name}: training from seed {flags.seed} ...", flush=True)
    # Validation costs time that is not training; every fourth epoch draws the curve well enough.
    rest = ("--keep.eval-epochs", "4", "--seed", str(flags.seed), "--device", flags.device, "--out", str(out), "--json")
    command = [sys.executable, "-m", "kinelite", "train", name, *SETTINGS, *EPOCHS[name], *rest]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RunError(
            f"Training '{name}' ended with exit code {done.returncode}; its own message is above. Run folder: {out}"
        )
    json.loads(done.stdout.splitlines()[-1])
    return json.loads((out / "record.json").read_text())


def compare(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """comparison.json: top1, train_seconds and peak_memory_gib of each recipe; SFA's share of conventional time."""
    fields = ("top1", "train_seconds", "peak_memory_gib", "trained_params", "params")
    table = {name: {field: record[field] for field in fields} for name, record in results.items()}
    return table | {"ratio": results["sfa"]["train_seconds"] / results["conventional"]["train_seconds"]}


def _print_table(results: dict[str, dict[str, Any]], ratio: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "top-1", "training", "ratio", "peak memory", "parameters trained last")
    for name, r in results.items():
        share = ratio if name == "sfa" else 1.0
        millions = f"{r['trained_params'] / 1e6:.2f} of {r['params'] / 1e6:.2f} M"
        time, memory = f"{r['train_seconds']:.0f} s", f"{r['peak_memory_gib']:.2f} GiB"
        table.add_row(name, f"{100 * r['top1']:.1f} %", time, f"{share:.2f}", memory, millions)
    Console().print(table)


def _predict(run: Path) -> None:
    """Three clips that no training saw: they are drawn from another seed."""
    from kinelite.data.sets.motion import unseen_clips
    from kinelite.train.predict import predict

    paths, truth = unseen_clips(3)
    print("Three unseen clips:")
    for prediction, label in zip(predict(run, paths, top=1), truth, strict=True):
        best = prediction.labels["label"][0]
        print(f"  {Path(prediction.path).name}: {best['label']} ({best['probability']:.2f}), truth: {label}")
