"""Peak memory of a frozen encoder's stage at several clip lengths, each in a process of its own, as records.

Example: python docs/examples/flat_memory.py results/memory --frames 16 64 512

The clips are drawn at that length, so that no frame is shown twice. A few steps are enough: the peak is that of one
step. On a CPU it is the resident memory of the whole process, libraries and decoded clips included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import tyro

from kinelite.data.motion_scene import draw_scene, encode, render


def main(
    out: tyro.conf.Positional[Path],
    model: str = "vivit_fe_ti",
    frames: tuple[int, ...] = (16, 32, 64, 128, 256, 512),
    size: int = 224,
    mode: Literal["online", "stored"] = "online",
    workers: int = 0,
    device: str = "auto",
    recompute: bool = False,
) -> None:
    """Write MODE-FRAMES.json, a training record, for each number of frames and print the peaks."""
    flags = f"--model {model} --size {size} --features.mode {mode} --workers {workers} --device {device} --batch 1"
    flags += " --epochs 1 --split.val-fraction 0.5 --clips.sampling sparse --keep.strips 0 --features.views 1"
    flags += " --memory.recompute" if recompute else ""
    out.mkdir(parents=True, exist_ok=True)
    peaks = []
    for count in frames:
        with TemporaryDirectory(dir=out) as folder:
            draw_clips(Path(folder), count, size)
            run = Path(folder) / "run"
            command = [sys.executable, "-m", "kinelite", "train", "frozen", "--data", f"folder:{folder}/clips"]
            command += [*flags.split(), "--frames", str(count), "--out", str(run)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            # The clips are gone afterwards, and so is the folder's name.
            record = json.loads((run / "record.json").read_text().replace(str(Path(folder)), "drawn"))
        (out / f"{mode}-{count}.json").write_text(json.dumps(record, indent=1))
        peaks.append(record["peak_memory_gib"])
        print(f"{count:4} frames: {peaks[-1]:.3f} GiB, {peaks[-1] / peaks[0]:.3f} of the first", flush=True)


def draw_clips(folder: Path, frames: int, size: int) -> None:
    """Two clips of each of two classes."""
    for motion in ("moves_right", "moves_down"):
        (folder / "clips" / motion).mkdir(parents=True)
        for number in range(2):
            scene = draw_scene(motion, np.random.default_rng(number))
            (folder / "clips" / motion / f"{number}.mp4").write_bytes(encode(render(scene, frames=frames, size=size)))


if __name__ == "__main__":
    tyro.cli(main)
