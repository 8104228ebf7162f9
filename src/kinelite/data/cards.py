"""Cards of sets as plain values, with their options and what the comments beneath them say."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

from kinelite.data.sets import SetCard, SetOptions

VARIANTS = {"split", "task"}
"""Options that choose other clips or classes, so that other counts hold."""
_WORDS: dict[Any, str] = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def describe_set(card: SetCard) -> dict[str, Any]:
    """The card's facts, and its options with what they take, their default and meaning; plain JSON values."""
    return {
        "name": card.name,
        "spec": card.spec,
        "summary": card.summary,
        "tree": textwrap.dedent(card.tree).strip("\n"),
        "licence": card.licence,
        "source": card.source,
        "published": dict(card.published),
        "options": _options(card.options),
    }


def _options(kind: type[SetOptions]) -> list[dict[str, str]]:
    """Own options first, then those that every set takes."""
    types, texts = get_type_hints(kind), _texts(kind)
    own = [field for field in fields(kind) if field.name not in SetOptions.__dataclass_fields__]
    common = [field for field in fields(kind) if field.name in SetOptions.__dataclass_fields__]
    return [
        {
            "name": field.name,
            "takes": " or ".join(str(value) for value in get_args(types[field.name]) if value != "")
            or _WORDS.get(types[field.name], "text"),
            "default": _plain(field.default),
            "meaning": texts.get(field.name, ""),
        }
        for field in own + common
    ]


def _plain(default: Any) -> str:
    """As it would be written in a set's name."""
    return "" if default is MISSING else str(default).lower() if isinstance(default, bool) else str(default)


def published_counts(card: SetCard, given: Mapping[str, str]) -> dict[str, int]:
    """The announced counts of the variant that the options ``given`` choose.

    A card's plain counts are those of its default variant. A count of another one stands under a name with the option,
    such as 'train split=2'; where there is none, nothing is announced.
    """
    counts = {name: count for name, count in card.published.items() if "=" not in name}
    for option in VARIANTS & set(given):
        default = {field.name: field.default for field in fields(card.options)}.get(option)
        if given[option] != str(default):
            end = f" {option}={given[option]}"
            counts = {n.removesuffix(end): count for n, count in card.published.items() if n.endswith(end)}
    return counts


def _texts(kind: type) -> dict[str, str]:
    """Field -> the string below it, of a dataclass and those that it extends."""
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if not isinstance(field, ast.AnnAssign) or not isinstance(text, ast.Expr):
                continue
            if isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
                found[ast.unparse(field.target)] = " ".join(text.value.value.split())
    return found
