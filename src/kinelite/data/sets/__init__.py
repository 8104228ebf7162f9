"""Sets of clips, one file each. A file registers a function ``(root, split, options) -> Manifest`` under its name.

A set is named ``NAME``, ``NAME:ROOT`` or ``NAME:ROOT,option=value,option=value``; a path without a name is a folder, a
CSV file or a list, by what lies there.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from kinelite.config import SplitConfig
from kinelite.data.exclusions import without
from kinelite.data.manifest import Manifest, Row
from kinelite.errors import DataError, UsageError, unknown


@dataclass(frozen=True)
class SetOptions:
    """Options that every set takes; a set with options of its own registers a subclass."""

    exclude: str = ""
    """CSV file of clips to leave out, as `kinelite data check --out FILE` writes it."""
    outside: bool = False
    """Accept paths that lead out of the root."""


Loader = Callable[[str, SplitConfig, Any], Manifest]


@dataclass(frozen=True)
class SetCard:
    """A set as `kinelite list datasets` and `kinelite info SET` show it."""

    name: str
    spec: str
    """How to name it on the command line, such as folder:ROOT."""
    summary: str
    load: Loader
    options: type[SetOptions] = SetOptions
    tree: str = ""
    """Files that the root is expected to hold, as the owner's download leaves them."""
    licence: str = ""
    """Terms of use in a sentence, with their owner."""
    source: str = ""
    """Paper or page that the set comes from."""
    published: Mapping[str, int] = field(default_factory=dict)
    """What the owner announces: 'classes' (or 'classes TASK'), 'train', 'val', 'test' -> number, for `data check`."""


_SETS: dict[str, SetCard] = {}


def register_set(name: str, *, spec: str, summary: str, **card: Any) -> Callable[[Loader], Loader]:
    """Decorator that puts a loader on the list under ``name``; ``card`` are the other fields of `SetCard`."""

    def keep(load: Loader) -> Loader:
        _SETS[name] = SetCard(name, spec, summary, load, **card)
        return load

    return keep


def list_sets() -> dict[str, SetCard]:
    """All sets by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_SETS.items()))


def find_set(spec: str) -> SetCard:
    """The card of the set that ``spec`` names. Raises UsageError for an unknown name."""
    name = parse_spec(spec)[0]
    sets = list_sets()
    if name not in sets:
        raise unknown("data set", name, sets, "kinelite list datasets")
    return sets[name]


def load_set(spec: str, split: SplitConfig | None = None) -> Manifest:
    """The manifest that ``NAME``, ``NAME:ROOT``, ``NAME:ROOT,option=value`` or a path stands for.

    Raises UsageError for an unknown name or option and DataError when the root holds no usable set.
    """
    card = find_set(spec)
    _, root, given = parse_spec(spec)
    options = _options(card, given)
    manifest = card.load(root, split or SplitConfig(), options)
    return without(manifest, options.exclude) if options.exclude else manifest


_OPTION = re.compile(r"^(?P<rest>.*),(?P<name>[a-z][a-z_]*)=(?P<value>[^,]*)$", re.DOTALL)


def load_any(spec: str, split: SplitConfig | None = None) -> Manifest:
    """As `load_set`, but a folder that is no set of classes gives all videos below it, without labels.

    For looking at files and measuring them. Raises DataError when there is no video either.
    """
    try:
        return load_set(spec, split)
    except DataError:
        kind, root, _ = parse_spec(spec)
        from kinelite.data.sets.folder import VIDEO_SUFFIXES

        files = sorted(Path(root).expanduser().rglob("*")) if kind == "folder" else []
        found = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
        if not found:
            raise
    note = f"{root} is no set of classes: all {len(found)} videos below it, without labels."
    return Manifest(spec, {"label": ("-",)}, tuple(Row(str(path), (0,), "all") for path in found), notes=(note,))


def parse_spec(spec: str) -> tuple[str, str, dict[str, str]]:
    """Name, root and options of a spec. Options are cut off the end, so a root may hold commas."""
    options: dict[str, str] = {}
    while match := _OPTION.match(spec):
        spec = match["rest"]
        options = {match["name"]: match["value"], **options}
    name, colon, root = spec.partition(":")
    if colon or name in list_sets() or not Path(spec).expanduser().exists():
        return name, root, options
    kind = {".csv": "csv", ".txt": "list"}.get(Path(spec).suffix.lower(), "folder")
    return kind, spec, options


def _options(card: SetCard, given: Mapping[str, str]) -> SetOptions:
    known = {f.name: f for f in fields(card.options)}
    for name in given:
        if name not in known:
            raise unknown(f"option of '{card.name}'", name, known, f"kinelite info {card.name}")
    try:
        return msgspec.convert(dict(given), card.options, strict=False)
    except msgspec.ValidationError as error:
        text = ",".join(f"{name}={value}" for name, value in given.items())
        types = get_type_hints(card.options)
        allowed = "; ".join(f"{name}: {_allowed(types[name])}" for name in given)
        raise UsageError(f"'{card.name}' does not take {text}. Allowed: {allowed}. ({error})") from error


def _allowed(kind: Any) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return words.get(kind) or " or ".join(map(str, get_args(kind))) or str(kind)
