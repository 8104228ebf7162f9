"""Whose encoder makes features: a trained run's, or that of a named model with published weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinelite.config import NetConfig, SplitConfig, from_json
from kinelite.errors import UsageError
from kinelite.models import Factorised, create_model
from kinelite.models.checkpoints.header import header_of
from kinelite.models.weights import load_weights
from kinelite.train.assess import saved_config
from kinelite.train.published import names_published
from kinelite.train.trained import load_trained


@dataclass(frozen=True)
class Source:
    """A model whose encoder is to be used, and what is known of the run that it comes from."""

    model: Factorised
    net: NetConfig
    name: str
    data: str | None = None
    """Set that it was trained on."""
    split: SplitConfig | None = None
    """How that set was split."""


def load_source(run: str, pretrained: str | None, net: NetConfig, frames: int | None, size: int | None) -> Source:
    """The model of a run folder, weight file or MODEL@WEIGHTS; with ``pretrained`` the named model with these weights.

    ``frames`` per clip may differ from those of a run. Raises UsageError for a model that is not factorised, a name
    without weights, options that a finished run cannot take, and frames that do not make whole tubelets.
    """
    if pretrained:
        model: Any = create_model(run, frames=frames, size=size, net=net)
        # A classifier is not needed, so weights of other classes do.
        load_weights(_factorised(model, run), pretrained, allow_new_head=True)
        return Source(model, net, run)
    if not (names_published(run) or Path(run).exists() or run.startswith(("hf:", "https:", "http:"))):
        raise UsageError(
            f"No run or weight file '{run}'. If it is the name of a model, say which weights: --pretrained hub. "
            "Random weights are nothing to store features of. Models: kinelite list models"
        )
    if size is not None or net != NetConfig():
        raise UsageError("--size and --net.* belong to a model that is named with --pretrained; a run has its own.")
    trained = load_trained(run)
    model = _factorised(trained.model, trained.name)
    if frames is not None:
        if frames < 1 or frames % model.tubelet:
            raise UsageError(f"--frames {frames}: give a multiple of the tubelet, {model.tubelet} frames.")
        model.spec = replace(model.spec, frames=frames)
    config = saved_config(trained)
    given = header_of(trained.source).get("net")
    built = from_json(given, NetConfig) if given else NetConfig()
    return Source(model, built, trained.name, config.data if config else None, config.split if config else None)


def _factorised(model: Any, name: str) -> Factorised:
    if not isinstance(model, Factorised):
        raise UsageError(
            f"'{name}' does not encode tubelet by tubelet, so there is nothing to store. Models that do: vivit_fe_*, "
            "vtn_*, vivit_fe:ENCODER."
        )
    return model
