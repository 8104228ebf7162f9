"""kinelite export RUN|MODEL"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.errors import RunError, UsageError


@dataclass(frozen=True)
class ExportFlags:
    """Write a model for ONNX Runtime, ExecuTorch or Core ML, run it there, and keep it if its logits are the same.

    Example: kinelite export runs/mine --format onnx --out mine.onnx
    """

    source: Annotated[str, tyro.conf.Positional]
    """Run folder, weight file, MODEL@WEIGHTS such as swin3d_t@k400, or a model's name."""
    format: str = "onnx"
    """onnx: ONNX Runtime. executorch: phones, through XNNPACK. coreml: Apple's."""
    precision: str = "fp32"
    """fp32, fp16, or int8 by the runtime's own quantisation."""
    out: Path | None = None
    """The file (default: MODEL-PRECISION.onnx, .pte or .mlpackage, in the run folder or here)."""
    batch: int = 1
    """Clips of a call."""
    stream: bool = False
    """One frame per call, with the state of the clip as input and output: movinet_a0_stream, tsm_r50_online."""
    data: str | None = None
    """Set whose training clips int8 is calibrated with, and whose others are labelled by PyTorch and by the file."""
    on: str = "val"
    """Split of --data for the accuracy: val, test, train, all."""
    frames: int | None = None
    """Frames of a model that is named (default: its own)."""
    size: int | None = None
    """Pixels of a model that is named (default: its own)."""
    pretrained: str | None = None
    """Weights of a model that is named: hub, a release, a file (default: random ones)."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse, export, say what was verified."""
    flags: ExportFlags = parse(ExportFlags, "kinelite export", args)
    if flags.batch < 1:
        raise UsageError(f"--batch {flags.batch}: give 1 or more.")
    from kinelite.export import Gap, ready

    ready(flags.format)
    from kinelite.export.accuracy import accuracies, to_score
    from kinelite.export.make import export
    from kinelite.export.source import has_names, trained_or_new

    trained = trained_or_new(flags.source, frames=flags.frames, size=flags.size, pretrained=flags.pretrained)
    # Without names of classes a model can be calibrated with a set, but not scored on it.
    scored = to_score(trained, flags.data, flags.on) if flags.data and has_names(trained) else None
    try:
        made = export(
            trained, flags.format, flags.precision, flags.out, batch=flags.batch, stream=flags.stream, data=flags.data
        )
    except Gap as gap:
        raise RunError(f"{trained.name} cannot be written for {flags.format} in {flags.precision}: {gap}.") from gap
    result = {
        "out": str(made.path),
        "format": made.format,
        "precision": made.facts.precision,
        "difference": made.difference.largest,
        "largest_logit": made.difference.scale,
        "same_label": made.difference.same_label,
        "size_mib": made.size_mib,
        "seconds": made.seconds,
    }
    verdict = "Verified against PyTorch" if made.difference.largest is not None else "Not verified"
    print(f"{verdict}: {made.difference}.")
    if scored is not None and made.difference.largest is not None:
        before, after, clips = accuracies(trained, made.path, scored)
        print(f"Top-1 on {clips} clips of {flags.data} ({flags.on}): PyTorch {before:.1%}, this file {after:.1%}.")
        result |= {"top1_before": before, "top1": after, "clips": clips}
    next_command = f"kinelite predict {made.path} CLIP..." if made.difference.largest is not None else "run it on a Mac"
    print(f"{made.path}: {made.size_mib:.1f} MiB, {made.seconds:.0f} s. Next: {next_command}")
    return result
