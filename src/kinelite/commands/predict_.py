"""kinelite predict RUN CLIP..."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.commands.eval_ import read_views


@dataclass(frozen=True)
class PredictFlags:
    """Label clips with a trained model. Frames are chosen and normalised as in its training.

    Example: kinelite predict runs/mine a.mp4 holiday/ 'takes/*.mov' --top 3 --csv labels.csv
    """

    run: Annotated[str, tyro.conf.Positional]
    """Run folder, a weight file that kinelite train wrote (also hf:OWNER/REPOSITORY/FILE or an https address),
    published weights as MODEL@WEIGHTS: swin3d_t@k400, or a file that kinelite export wrote."""
    clips: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Files, folders (searched for videos) and patterns."""
    top: int = 5
    """How many labels per clip."""
    views: str = "1x1"
    """Temporal x spatial views per clip, averaged."""
    csv: Path | None = None
    """Also write a CSV file: path, task, rank, label, probability, problem."""
    batch: int = 8
    """Clips times views per forward pass."""
    device: str = "auto"
    """auto, cpu, cuda, mps."""
    precision: str = "auto"
    """auto, fp32, bf16, fp16."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse, predict, print a table."""
    flags = parse(PredictFlags, "kinelite predict", args)
    views = read_views(flags.views)
    from kinelite.train.predict import predict, write_csv

    found = predict(
        flags.run,
        flags.clips,
        top=flags.top,
        views=views,
        batch=flags.batch,
        device=flags.device,
        precision=flags.precision,
    )
    if flags.csv:
        write_csv(flags.csv, found)
    _print_table(found)
    bad = [p for p in found if p.problem]
    where = f" Table in {flags.csv}." if flags.csv else ""
    print(f"{len(found) - len(bad)} of {len(found)} clips labelled.{where} Next: {_next(flags.run)}")
    rows = [{"path": p.path, "labels": p.labels, "problem": p.problem} for p in found]
    return {"predictions": rows, "scored": len(found) - len(bad), "clips": len(found), "exit_code": 4 if bad else 0}


def _next(run: str) -> str:
    from kinelite.export import format_of

    return f"kinelite eval {run} --data SPEC" if format_of(run) is None else "kinelite export --help"


def _print_table(found: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("clip", "label", "probability")
    for prediction in found:
        if prediction.problem:
            table.add_row(Text(prediction.path), Text(prediction.problem), "")
        for task, labels in prediction.labels.items():
            prefix = f"{task}: " if len(prediction.labels) > 1 else ""
            names = "\n".join(f"{prefix}{item['label']}" for item in labels)
            shares = "\n".join(f"{item['probability']:.3f}" for item in labels)
            table.add_row(Text(prediction.path), Text(names), shares)
    Console(soft_wrap=False).print(table)
