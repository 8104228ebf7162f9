"""kinelite info NAME"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.errors import UsageError, unknown


@dataclass(frozen=True)
class InfoFlags:
    """What a model is and what it costs, counted without running it; what a set of clips is and how it is laid out.

    Example: kinelite info vivit_fe_b
    """

    name: Annotated[str, tyro.conf.Positional]
    """A name of `kinelite list models` or `kinelite list datasets` (a pattern that stands for one model will do), or
    vivit_fe:ENCODER with any timm vision transformer."""


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
        matches = list_models(name)
        if len(matches) > 1:
            raise UsageError(f"'{name}' stands for {len(matches)} models: {', '.join(matches)}. Name one of them.")
        if not matches:
            raise unknown("model or set", name, [*models, *sets], "kinelite list models, kinelite list datasets")
        name = matches[0]
    return _model(name)


def _model(name: str) -> dict[str, Any]:
    from kinelite.models.cost import describe

    found = describe(name)
    print(f"{found['name']}: {found['summary']}")
    for fact in ("paper", "origin", "difference"):
        if found[fact]:
            print(_wrapped(fact, found[fact]))
    spec = found["spec"]
    print(
        f"parameters  {found['params_m']:.3f} M at 400 classes; weights {found['weights_mib']:.1f} MiB in fp32, "
        f"{found['weights_half_mib']:.1f} MiB in bf16 or fp16"
    )
    for part, count in found["params"].items():
        print(f"  {part:10}{count / 1e6:9.3f} M")
    print(
        f"cost        {found['gmacs']:.2f} GMACs per clip\n"
        f"input       {spec['frames']} frames of {spec['size']} x {spec['size']}, {spec['sampling']} sampling, "
        f"{spec['fit']}, mean {spec['mean']}, std {spec['std']}"
    )
    _print_weights(found)
    print(f"Next: kinelite train {'sfa' if found['sfa'] else 'lightweight'} --model {name} --data SPEC")
    return found


def _print_weights(found: dict[str, Any]) -> None:
    if found["weights"]:
        print(_wrapped("hub", f"image weights {found['weights']}; {found['licence']}"))
    for release in found["releases"]:
        print(_wrapped(release["name"], f"{release['classes']}; {release['licence']}; {release['address']}"))
    if not found["weights"] and not found["releases"]:
        print("weights     none published")
    for score in found["scores"]:
        told = f"{score['top1']:g} % top-1 on {score['data']}; {score['protocol']}; {score['source']}"
        print(_wrapped("published", told))


def _wrapped(label: str, text: str) -> str:
    """Text behind a label, in lines that fit a terminal; a label that is too long has a line of its own."""
    lines = textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
    first = f"{label:12}" if len(label) < 12 else f"{label}\n{'':12}"
    return first + f"\n{'':12}".join(lines)


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
