"""The table of parts over time, and building the one that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models.temporal.mean import TemporalMean
from kinelite.models.temporal.part import TemporalPart
from kinelite.models.temporal.probe import AttentiveProbe
from kinelite.models.temporal.transformer import TemporalTransformer

DEFAULT = "transformer"


@dataclass(frozen=True)
class Sizes:
    """What a model knows of its part over time. Each part takes what it has use for."""

    features: int
    """Length of a feature vector."""
    width: int
    """Width within the part; features of another length are projected to it."""
    heads: int
    layers: int
    tubelets: int
    mlp_width: int
    drop_path: float = 0.0
    gelu: Literal["none", "tanh"] = "none"


def _transformer(sizes: Sizes) -> TemporalPart:
    return TemporalTransformer(
        sizes.width,
        heads=sizes.heads,
        layers=sizes.layers,
        tubelets=sizes.tubelets,
        features=sizes.features,
        mlp_width=sizes.mlp_width,
        drop_path=sizes.drop_path,
        gelu=sizes.gelu,
    )


def _probe(sizes: Sizes) -> TemporalPart:
    return AttentiveProbe(
        sizes.width,
        heads=sizes.heads,
        tubelets=sizes.tubelets,
        features=sizes.features,
        mlp_width=sizes.mlp_width,
    )


def _mean(sizes: Sizes) -> TemporalPart:
    return TemporalMean(sizes.features)


TEMPORAL: dict[str, Callable[[Sizes], TemporalPart]] = {"transformer": _transformer, "probe": _probe, "mean": _mean}
"""What ``net.temporal`` names. A new part is a file of this room and a line here."""


def build_temporal(net: NetConfig, sizes: Sizes) -> TemporalPart:
    """The part that ``net.temporal`` names, with ``net.temporal_layers`` instead of the model's own where it is given.

    Raises UsageError for layers of a part that has none.
    """
    name = net.temporal or DEFAULT
    if name != DEFAULT and net.temporal_layers is not None:
        raise UsageError(
            f"net.temporal {name} has no layers to count: leave net.temporal_layers out, or set net.temporal {DEFAULT}."
        )
    return TEMPORAL[name](replace(sizes, layers=net.temporal_layers or sizes.layers))
