"""kinelite info NAME"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.errors import unknown


@dataclass(frozen=True)
class InfoFlags:
    """What a model is and what it costs, counted without running it; what a set of clips is and how it is laid out.

    Example: kinelite info vivit_fe_b
    """

    name: Annotated[str, tyro.conf.Positional]
    """A name of `kinelite list models` or `kinelite list datasets`, or vivit_fe:ENCODER with any timm vision
    transformer."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse, find out what the name stands for, print."""
    name: str = parse(InfoFlags, "kinelite info", args).name
    from kinelite.data.sets import list_sets

    sets = list_sets()
    if (known := sets.get(name.partition(":")[0].partition(",")[0])) is not None:
        from kinelite.data.cards import describe_set

        return _set(describe_set(known))
    from kinelite.models import list_models

    if ":" not in name and name not in (models := list_models()):
        raise unknown("model or set", name, [*models, *sets], "kinelite list models, kinelite list datasets")
    return _model(name)


def _model(name: str) -> dict[str, Any]:
    from kinelite.models.describe import describe

    found = describe(name)
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
    print(f"Next: kinelite train sfa --model {name} --data SPEC")
    return found


def _set(found: dict[str, Any]) -> dict[str, Any]:
    print(f"{found['name']}: {found['summary']}")
    print(f"named       {found['spec']}")
    for fact in ("source", "licence"):
        if found[fact]:
            print(f"{fact:12}{found[fact]}")
    if found["published"]:
        print(f"published   {', '.join(f'{name} {count:,}' for name, count in found['published'].items())}")
    if found["tree"]:
        print(f"files\n{textwrap.indent(found['tree'], '  ')}")
    print("options, as in " + found["spec"].partition(",")[0] + ",option=value")
    for option in found["options"]:
        default = f" (default: {option['default']})" if option["default"] else ""
        print(textwrap.fill(f"{option['name']}: {option['takes']}{default}", 100, initial_indent="  "))
        print(textwrap.fill(option["meaning"], 100, initial_indent="      ", subsequent_indent="      "))
    print(f"Next: kinelite data check {found['spec']}")
    return found
