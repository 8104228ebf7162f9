"""Which models there are. A variant is a short function under `@register`; the files of this package are searched."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import nn

from kinelite.config import NetConfig
from kinelite.errors import UsageError, unknown
from kinelite.types import InputSpec

DEFAULT_CLASSES = 400
"""Classes of a model whose number of classes is not given: those of Kinetics-400, as published counts assume."""
KINETICS400, KINETICS600 = "kinetics400, alphabetical", "kinetics600, alphabetical"
"""`Release.classes` of most releases; of the first, the names of the classes are known wherever torchvision is."""


@dataclass(frozen=True)
class Release:
    """Published weights of a whole model, and how to name them: ``pretrained='k400'``."""

    name: str
    """Short name, after the set that they were trained on: k400, k600, ssv2, k400_96f."""
    address: str
    """``hf:OWNER/REPOSITORY/FILE`` or an https address."""
    classes: str
    """Set and order of the classes: 'kinetics400, alphabetical'."""
    licence: str
    sha256: str = ""
    """Checksum of the file, or its first digits where the publisher gives no more; the hub has its own."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the `InputSpec` that it was trained with where the card's differ: {"frames": 8}."""
    net: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the `NetConfig` that it needs where the model's own do not do: {"temporal_layers": 24}."""
    heads: Mapping[str, int] = field(default_factory=dict)
    """Task -> classes of weights with several labels per clip; empty for one label."""


@dataclass(frozen=True)
class Score:
    """A published accuracy."""

    data: str
    """Set, such as kinetics400."""
    top1: float
    """Per cent."""
    protocol: str
    """Frames, views, crops, size."""
    source: str
    """Who published it."""


@dataclass(frozen=True)
class Card:
    """What `kinelite info` says of a model before it is built."""

    name: str
    summary: str
    paper: str
    """Title and arXiv number."""
    licence: str
    """Licence of the pretrained weights."""
    weights: str
    """Image weights that ``pretrained='hub'`` loads, by timm's name; empty when there are none."""
    spec: InputSpec
    params_m: float | None
    """Published or expected parameters in millions, at 400 classes and the frames of ``spec``."""
    source: str
    """Where ``params_m`` comes from."""
    gmacs: float | None = None
    """10^9 multiply-accumulates of one clip of ``spec``, counted (`kinelite.models.cost`)."""
    origin: str = ""
    """Which library the blocks come from, or why they are written here."""
    difference: str = ""
    """Where the count or the architecture differs from the paper, and why."""
    releases: tuple[Release, ...] = ()
    """Weights of the whole model that its authors published."""
    scores: tuple[Score, ...] = ()
    """Published accuracy."""


@dataclass(frozen=True)
class Order:
    """What a variant is asked to build."""

    card: Card
    heads: Mapping[str, int]
    """Task -> number of classes."""
    frames: int
    size: int | None
    """Height and width in pixels; None: the variant's own."""
    net: NetConfig

    @property
    def spec(self) -> InputSpec:
        """The card's input at the frames and pixels that are asked for."""
        return replace(self.card.spec, frames=self.frames, size=self.size or self.card.spec.size)

    def only(self, *taken: str) -> NetConfig:
        """``net``, after refusing every field that was set and is not among ``taken``; shares of dropping are checked.

        Raises UsageError naming what this model takes.
        """
        for option in fields(NetConfig):
            if option.name not in taken and getattr(self.net, option.name) != option.default:
                takes = ", ".join(f"net.{name}" for name in taken) or "no net.* options"
                raise UsageError(f"{self.card.name} has no net.{option.name}; it takes {takes}.")
        for name, words in _choices().items():
            if (value := getattr(self.net, name)) not in words:
                known = ", ".join(word for word in words if word)
                raise UsageError(f"net.{name} must be one of {known}; got {value!r}.")
        for name in ("drop_path", "dropout"):
            if not 0 <= (getattr(self.net, name) or 0) < 1:
                raise UsageError(f"net.{name} must be from 0 to below 1; got {getattr(self.net, name)}.")
        for name in ("tubelet", "temporal_layers"):
            if (value := getattr(self.net, name)) is not None and value < 1:
                raise UsageError(f"net.{name} must be 1 or more; got {value}.")
        return self.net


@functools.cache
def _choices() -> dict[str, tuple[str | None, ...]]:
    """Words that fields of `NetConfig` may have. Flags are checked where they are read, what comes from Python here."""
    found = {}
    for name, hint in get_type_hints(NetConfig).items():
        literals = [h for h in (hint, *get_args(hint)) if get_origin(h) is Literal]
        if literals:
            found[name] = (*get_args(literals[0]), *((None,) if type(None) in get_args(hint) else ()))
    return found


Build = Callable[[Order], nn.Module]

_MODELS: dict[str, tuple[Card, Build]] = {}
_FAMILIES: dict[str, tuple[Callable[[str], Card], Build]] = {}


def register(**facts: Any) -> Callable[[Build], Build]:
    """Decorator that lists a variant under its function's name; ``facts`` are the fields of its `Card`."""

    def keep(build: Build) -> Build:
        name = getattr(build, "__name__", "")
        _MODELS[name] = (Card(name=name, **facts), build)
        return build

    return keep


def register_family(prefix: str, make_card: Callable[[str], Card]) -> Callable[[Build], Build]:
    """Decorator for models named ``prefix:ENCODER``; the builder finds the encoder in ``order.net.encoder``."""

    def keep(build: Build) -> Build:
        _FAMILIES[prefix] = (make_card, build)
        return build

    return keep


def list_models(pattern: str = "*") -> list[str]:
    """Names of all models that match a shell pattern, such as ``vivit_fe_*``."""
    return sorted(fnmatch.filter(_discover(), pattern))


def is_model(name: str) -> bool:
    """Whether ``name`` is a model's, or begins as ``family:ENCODER`` does, whatever follows."""
    prefix, colon, _ = name.partition(":")
    return name in _discover() or bool(colon and prefix in _FAMILIES)


def card(name: str) -> Card:
    """The card of a model. Raises UsageError for an unknown name."""
    return _find(name)[0]


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    heads: Mapping[str, int] | None = None,
    frames: int | None = None,
    size: int | None = None,
    pretrained: str | bool | None = None,
    net: NetConfig | None = None,
) -> nn.Module:
    """Build a model by name, with random weights unless ``pretrained`` is given.

    Args:
        name: a name of `list_models`, ``vivit_fe:ENCODER`` with any timm vision transformer, or ``vtn:ENCODER``
            with any timm CNN.
        num_classes: classes of a set with one label per clip (400 when neither this nor ``heads`` is given).
        heads: task -> classes, for several labels per clip: ``{"verb": 97, "noun": 300}``.
        frames: frames per clip (default: the model's own).
        size: height and width in pixels (default: the model's own).
        pretrained: ``'hub'`` (or True), the name of one of the card's releases, ``hf:OWNER/REPOSITORY``, an https
            address or a file, see `kinelite.models.weights.load_weights`.
        net: what is built differently from the model's defaults.

    Returns:
        A module from video ``[b, c, t, h, w]`` to logits ``[b, k]`` (a dict of them for several tasks), no softmax.

    Raises:
        UsageError: unknown name, frames or size that the model cannot take, weights that do not fit.
        SetupError: the hub cannot be reached.
    """
    model_card, build = _find(name)
    net = _with_encoder(name, net or NetConfig())
    frames = model_card.spec.frames if frames is None else frames
    for what, value in (("frames", frames), ("size", size)):
        if value is not None and value < 1:
            own = getattr(model_card.spec, what)
            raise UsageError(f"{what} must be 1 or more; got {value}. The default of {name} is {own}.")
    model: Any = build(Order(model_card, _heads(num_classes, heads), frames, size, net))
    model.card = model_card
    if pretrained not in (None, False):
        from kinelite.models.weights import load_weights

        load_weights(model, "hub" if pretrained is True else pretrained)
    return model


def _find(name: str) -> tuple[Card, Build]:
    models = _discover()
    prefix, _, encoder = name.partition(":")
    if encoder and prefix in _FAMILIES:
        make_card, build = _FAMILIES[prefix]
        return make_card(encoder), build
    if name not in models:
        if prefix in _FAMILIES:
            raise UsageError(f"'{prefix}' needs an encoder: {prefix}:ENCODER, an image model of timm.")
        raise unknown("model", name, models, "kinelite list models")
    return models[name]


def _discover() -> dict[str, tuple[Card, Build]]:
    package = importlib.import_module("kinelite.models")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return _MODELS


def _with_encoder(name: str, net: NetConfig) -> NetConfig:
    encoder = name.partition(":")[2]
    if encoder and net.encoder not in (None, encoder):
        raise UsageError(f"Two encoders were given: '{encoder}' in the model's name and '{net.encoder}'. Keep one.")
    return replace(net, encoder=encoder) if encoder else net


def _heads(num_classes: int | None, heads: Mapping[str, int] | None) -> dict[str, int]:
    if num_classes is not None and heads is not None:
        raise UsageError(f"Give num_classes ({num_classes}) for one label per clip or heads ({dict(heads)}), not both.")
    if heads is None:
        heads = {"label": DEFAULT_CLASSES if num_classes is None else num_classes}
    if not heads or min(heads.values()) < 1:
        raise UsageError(f"Every task needs at least one class; got {dict(heads)}.")
    return dict(heads)
