"""kinelite info MODEL"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from kinelite.cli import parse


@dataclass(frozen=True)
class InfoFlags:
    """What a model is and what it costs, counted without running it.

    Example: kinelite info vivit_fe_b
    """

    model: Annotated[str, tyro.conf.Positional]
    """A name of `kinelite list models`, or vivit_fe:ENCODER with any timm vision transformer."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse, build on the meta device, print."""
    flags = parse(InfoFlags, "kinelite info", args)
    from kinelite.models.describe import describe

    found = describe(flags.model)
    print(f"{found['name']}: {found['summary']}")
    print(
        f"paper       {found['paper']}\nlicence     {found['licence']}\n"
        f"weights     {found['weights'] or 'none published'}"
    )
    print(f"parameters  {found['params_m']:.3f} M at 400 classes, weights {found['weights_mib']:.0f} MiB in fp32")
    for part, count in found["params"].items():
        print(f"  {part:10}{count / 1e6:9.3f} M")
    print(f"cost        {found['gmacs']:.2f} GMACs per clip")
    spec = found["spec"]
    print(
        f"input       {spec['frames']} frames of {spec['size']} x {spec['size']}, "
        f"mean {spec['mean']}, std {spec['std']}"
    )
    print(f"Next: kinelite train sfa --model {flags.model} --data SPEC")
    return found
