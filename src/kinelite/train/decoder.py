"""Which decoder a run uses: measured once, when it begins, and the same whenever it is continued."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from kinelite.config import TrainConfig
from kinelite.data.choose_decoder import choose_decoder
from kinelite.data.dataset import training_times
from kinelite.data.decode import DECODERS
from kinelite.data.manifest import Manifest
from kinelite.records import write_json
from kinelite.train.log import RunLog
from kinelite.types import InputSpec


def settled(decoder: str) -> str:
    """The decoder that is used: 'auto' means PyAV where no measurement has settled it."""
    return "pyav" if decoder == "auto" else decoder


def with_decoder(config: TrainConfig, training: Manifest, log: RunLog) -> TrainConfig:
    """The config with 'auto' settled by a measurement on clips of ``training``; decoder.json of the run keeps it.

    Raises SetupError when TorchCodec is asked for and cannot be used.
    """
    path = Path(config.out) / "decoder.json"
    frames = max(stage.frames or config.frames for stage in config.stages)
    question = {"asked": config.clips.decoder, "data": training.fingerprint(), "frames": frames}
    name = _kept(path, question)
    if name is None:
        found = choose_decoder(
            config.clips.decoder,
            training.rows,
            training_times(InputSpec(frames, config.size or 224), np.random.default_rng(config.seed)),
        )
        log.say(found.why)
        write_json(path, asdict(found) | question)
        name = found.name
    return replace(config, clips=replace(config.clips, decoder=name))


def _kept(path: Path, question: dict[str, Any]) -> str | None:
    """What was settled for the same question: a folder in which nothing was learnt may be used for another run."""
    try:
        kept = json.loads(path.read_text())
        same = {name: kept[name] for name in question} == question
        name = kept["name"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return name if same and name in DECODERS else None
