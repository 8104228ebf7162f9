"""kinelite eval RUN"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.config import SplitConfig
from kinelite.errors import UsageError


@dataclass(frozen=True)
class EvalFlags:
    """Score a trained model on a set of clips: top-1, top-5, per class, confusion, calibration.

    Example: kinelite eval runs/mine --data folder:clips/ --views 4x3
    """

    run: Annotated[str, tyro.conf.Positional]
    """Run folder, a weight file that kinelite train wrote (also hf:OWNER/REPOSITORY/FILE or an https address), or
    published weights as MODEL@WEIGHTS: swin3d_t@k400."""
    data: str | None = None
    """Set of clips (default: the one that the run was trained on)."""
    on: str = "val"
    """Split to score: train, val, test, all."""
    views: str = "1x1"
    """Temporal x spatial views per clip, averaged; 4x3 is ViViT's protocol."""
    out: Path | None = None
    """Folder of the result (default: eval-SPLIT-VIEWS inside the run folder)."""
    batch: int = 16
    """Clips times views per forward pass."""
    workers: int = -1
    """Processes that decode."""
    device: str = "auto"
    """auto, cpu, cuda, mps."""
    precision: str = "auto"
    """auto, fp32, bf16, fp16."""
    max_skipped: float = 0.05
    """Share of clips that may be undecodable; beyond it the exit code is 4."""
    split: SplitConfig = field(default_factory=SplitConfig)


def main(args: list[str]) -> dict[str, Any]:
    """Parse, score, write eval.json."""
    flags = parse(EvalFlags, "kinelite eval", args)
    views = read_views(flags.views)
    from kinelite.train.assess import assess
    from kinelite.train.evaluate import check_skipped

    record = assess(
        flags.run,
        data=flags.data,
        split_config=flags.split if "--split" in " ".join(args) else None,
        on=flags.on,
        views=views,
        out=flags.out,
        batch=flags.batch,
        workers=flags.workers,
        device=flags.device,
        precision=flags.precision,
        command=shlex.join(["kinelite", *sys.argv[1:]]),
    )
    first = f"{next(iter(record.tasks))}: " if record.tasks else ""
    print(
        f"{first}top-1 {100 * (record.top1 or 0):.1f} %{_top5(record.top5)}, calibration error {record.ece:.3f}; "
        f"scored {record.clips} clips."
    )
    for task, found in list(record.tasks.items())[1:]:
        source = f" (from {found['from']})" if "from" in found and " from " not in task else ""
        print(f"  {task}{source}: top-1 {100 * found['top1']:.1f} %{_top5(found['top5'])}")
    page = flags.run if Path(flags.run).is_dir() else record.out  # a file or MODEL@WEIGHTS is no folder of records
    print(f"Result in {record.out}. Next: kinelite report {page}")
    check_skipped(record.skipped, len(record.skipped) + (record.scored or 0), flags.max_skipped)
    names = ("top1", "top5", "ece", "loss", "scored", "clips", "seconds", "per_class", "skipped", "out")
    tasks = {
        task: {name: found[name] for name in ("top1", "top5", "from") if name in found}
        for task, found in record.tasks.items()
    }
    return {name: getattr(record, name) for name in names} | ({"tasks": tasks} if tasks else {})


def _top5(share: float | None) -> str:
    return "" if share is None else f", top-5 {100 * share:.1f} %"


def read_views(text: str) -> tuple[int, int]:
    """'4x3' as (4, 3). Raises UsageError for anything else."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"--views {text}: give temporal x spatial views such as 1x1 or 4x3.")
    return int(parts[0]), int(parts[1])
