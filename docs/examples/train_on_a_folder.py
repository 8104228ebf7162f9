"""Train on a folder of clips (FOLDER/class/clip) with SFA, score it, and say where the time went.

Example: python docs/examples/train_on_a_folder.py clips/ runs/mine --pretrained hub
"""

from __future__ import annotations

from pathlib import Path

import tyro

import kinelite as kl


def main(
    folder: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    model: str = "vivit_fe_ti",
    pretrained: str | None = None,
    frames: int = 32,
    size: int | None = None,
    epochs: int = 10,
    batch: int = 16,
) -> None:
    config = kl.recipes.sfa(
        data=f"folder:{folder}",
        model=model,
        pretrained=pretrained,
        frames=frames,
        size=size,
        epochs=epochs,
        batch=batch,
        out=out,
    )
    run = kl.train(config)
    for stage in run.record.stages:
        trained = f"{stage['trained_params'] / 1e6:.2f} M parameters"
        print(f"{stage['name']}: {stage['frames']} frames, {trained}, {stage['seconds']:.1f} s")
    result = kl.evaluate(run, views=(2, 1))
    print(f"top-1 {100 * result.top1:.1f} % on {result.clips} clips")
    for name, row in result.per_class.items():
        print(f"  {name}: {row['clips']} clips, top-1 {row['top1']}")


if __name__ == "__main__":
    tyro.cli(main)
