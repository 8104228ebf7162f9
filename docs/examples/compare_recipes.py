"""Train the same model conventionally and with SFA from the same seed, and write the page that compares them.

Example: python docs/examples/compare_recipes.py folder:clips/ runs/comparison
"""

from __future__ import annotations

from pathlib import Path

import tyro

import kinelite as kl


def main(
    data: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    model: str = "vivit_fe_ti",
    frames: int = 32,
    size: int | None = None,
    epochs: int = 10,
    seed: int = 0,
) -> None:
    settings = {"data": data, "model": model, "frames": frames, "size": size, "epochs": epochs, "seed": seed}
    conventional = kl.train(kl.recipes.conventional(**settings, out=out / "conventional")).record
    sfa = kl.train(kl.recipes.sfa(**settings, out=out / "sfa")).record
    for record in (conventional, sfa):
        print(f"{record.recipe}: top-1 {100 * record.top1:.1f} %, {record.train_seconds:.0f} s")
    print(f"SFA took {sfa.train_seconds / conventional.train_seconds:.2f} of the conventional training time")
    print(f"page: {kl.make_report([out], out)}")


if __name__ == "__main__":
    tyro.cli(main)
