"""kinelite list models [PATTERN]"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.errors import UsageError, unknown

if TYPE_CHECKING:
    from kinelite.models import Card


@dataclass(frozen=True)
class ModelsFlags:
    """What models there are: parameters at 400 classes, cost of one clip of their own input, published weights.

    Example: kinelite list models 'movinet*' --max-gmacs 2
    """

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    """Names, with * and ? as in a shell."""
    max_gmacs: float | None = None
    """Only models of at most so many 10^9 multiply-accumulates per clip (what papers call GFLOPs)."""
    max_params: float | None = None
    """Only models of at most so many million parameters."""
    pretrained: bool = False
    """Only models with published weights: of the whole model, or of its image encoder (hub)."""


def list_models_verb(args: list[str]) -> dict[str, Any]:
    """Parse, choose, print; nothing is built, the cards say it all."""
    flags: ModelsFlags = parse(ModelsFlags, "kinelite list models", args)
    from kinelite.models import card, list_models

    names = list_models(flags.pattern)
    if not names:
        raise unknown("model", flags.pattern, list_models(), "kinelite list models")
    cards = [card(name) for name in names]
    kept = [one for one in cards if _small(one.params_m, flags.max_params) and _small(one.gmacs, flags.max_gmacs)]
    kept = [one for one in kept if not flags.pretrained or pretrained_names(one)]
    if not kept:
        raise UsageError(_nothing(flags, cards))
    _print_table(kept)
    return {"models": {one.name: _facts(one) for one in kept}}


def pretrained_names(card: Card) -> list[str]:
    """What ``--pretrained`` takes for a model, by name."""
    return [*(["hub"] if card.weights else []), *(release.name for release in card.releases)]


def _facts(card: Card) -> dict[str, Any]:
    return {
        "summary": card.summary,
        "params_m": card.params_m,
        "gmacs": card.gmacs,
        "frames": card.spec.frames,
        "size": card.spec.size,
        "pretrained": pretrained_names(card),
    }


def _small(value: float | None, limit: float | None) -> bool:
    return limit is None or (value is not None and value <= limit)


def _nothing(flags: ModelsFlags, cards: list[Card]) -> str:
    limits = {"params_m": (flags.max_params, "million parameters"), "gmacs": (flags.max_gmacs, "GMACs")}
    asked = [f"at most {limit:g} {unit}" for limit, unit in limits.values() if limit is not None]
    asked += ["published weights"] if flags.pretrained else []
    among = "" if flags.pattern == "*" else f" named '{flags.pattern}'"
    near = []
    for name, (limit, unit) in limits.items():
        known = [(value, one.name) for one in cards if (value := getattr(one, name)) is not None]
        if limit is not None and known:
            value, smallest = min(known)
            near.append(f"the smallest has {value:g} {unit} ({smallest})")
    hint = f" Of these, {'; '.join(near)}." if near else ""
    return f"No model{among} has {' and '.join(asked)}.{hint} All of them: kinelite list models"


def _print_table(cards: list[Card]) -> None:
    head = ("model", "params, M", "GMACs", "input", "--pretrained")
    rows = [
        (one.name, _number(one.params_m), _number(one.gmacs), f"{one.spec.frames} x {one.spec.size} px", _short(one))
        for one in cards
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(4)]
    for name, params, gmacs, shape, weights in [head, *rows]:
        line = f"{name:{widths[0]}}  {params:>{widths[1]}}  {gmacs:>{widths[2]}}  {shape:{widths[3]}}  {weights}"
        print(line.rstrip())
    print("\nMore about one of them: kinelite info MODEL", file=sys.stderr)


def _short(card: Card) -> str:
    names = pretrained_names(card)
    return ", ".join(names[:4]) + (f", {len(names) - 4} more" if len(names) > 4 else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"
