"""kinelite train RECIPE"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from kinelite.cli import parse
from kinelite.config import ClipConfig, NetConfig, TrainConfig, from_json
from kinelite.errors import UsageError
from kinelite.ranks import find_ranks
from kinelite.recipes import RECIPES, recipe, summary
from kinelite.records import TrainRecord


def main(args: list[str]) -> dict[str, Any]:
    """Parse, train, say where the result is."""
    if not args or args[0] in ("-h", "--help"):
        print(_help())
        if not args:
            raise UsageError("Which recipe? One of: " + ", ".join(RECIPES))
        return {}
    config = read_config(args)
    from kinelite.train.device import place
    from kinelite.train.run import train

    placement = place(config.device, config.precision)
    print(
        f"Training '{config.model}' with recipe '{config.recipe}' on {placement.device} ({placement.reason}).",
        flush=True,
    )
    record = train(config)
    if not find_ranks().first:
        return {}
    page = _report(Path(config.out))
    print(_summary(record))
    print(f"Result in {config.out}; page: {page}. Next: kinelite predict {config.out} CLIP...")
    return result_of(record) | {"report": str(page)}


def read_config(args: list[str]) -> TrainConfig:
    """RECIPE [--config FILE] and flags as a config; flags change what the file says."""
    make, flags = recipe(args[0]), plain_batch(args[1:])
    doc = (make.__doc__ or "").replace("\n    ", "\n")
    doc += "\n--config FILE starts from a saved config.json instead of the recipe's own values; flags change it."
    if "--config" in flags:
        at = flags.index("--config")
        default = _saved(flags[at + 1] if at + 1 < len(flags) else "", args[0])
        flags = flags[:at] + flags[at + 2 :]
    else:
        default = make(**looked_up(flags))
    return parse(TrainConfig, f"kinelite train {args[0]}", flags, default=default, description=doc)


def looked_up(flags: list[str]) -> dict[str, Any]:
    """What recipes derive their defaults from, read before the flags as a whole are: the model's learning rate, the
    values of the set, stages as shares of all epochs and frames. What is no number is left to the parser to refuse."""
    found: dict[str, Any] = {name: flag_value(flags, name) for name in ("data", "model")}
    for name in ("frames", "epochs", "batch", "micro-batch", "size"):
        text = flag_value(flags, name) or ""
        found[name.replace("-", "_")] = int(text) if text.isdecimal() else None
    if flag_value(flags, "micro-batch") == "auto":
        found["micro_batch"] = "auto"
    policy, encoder = flag_value(flags, "clips.policy"), flag_value(flags, "net.encoder")
    found |= {"clips": ClipConfig(policy=policy) if policy else None}
    found |= {"net": NetConfig(encoder=encoder) if encoder else None}
    return {name: value for name, value in found.items() if value is not None}


def flag_value(flags: list[str], name: str) -> str | None:
    """The last value that was given to a flag, as ``--flag value`` or ``--flag=value``, with - or _ between words."""
    spread = [part for flag in flags for part in (flag.split("=", 1) if flag.startswith("--") else [flag])]
    wanted = f"--{name}"
    return next((b for a, b in reversed(list(pairwise(spread))) if a.replace("_", "-") == wanted), None)


def plain_batch(flags: list[str]) -> list[str]:
    """``--batch auto`` as what it means: the recipe's batch, as many clips at a time as the device has memory for."""
    words = [part for flag in flags for part in (flag.split("=", 1) if flag.startswith("--batch=") else [flag])]
    for at, (flag, value) in enumerate(pairwise(words)):
        if (flag, value) == ("--batch", "auto"):
            return [*words[:at], "--micro-batch", "auto", *words[at + 2 :]]
    return flags


def _saved(path: str, name: str) -> TrainConfig:
    try:
        config: TrainConfig = from_json(json.loads(Path(path).read_text()))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--config {path}: no config can be read there ({error}). Give a run's config.json."
        ) from error
    if config.recipe != name:
        raise UsageError(
            f"--config {path} is of recipe '{config.recipe}'. Try: kinelite train {config.recipe} --config {path}"
        )
    return config


def result_of(record: TrainRecord) -> dict[str, Any]:
    """What --json prints of a training run."""
    names = ("status", "top1", "top5", "train_seconds", "peak_memory_gib", "trained_params", "params", "out", "message")
    return {"seconds": record.train_seconds} | {name: getattr(record, name) for name in names}


def _summary(record: TrainRecord) -> str:
    top1 = "-" if record.top1 is None else f"{100 * record.top1:.1f} %"
    note = f" ({record.message})" if record.message else ""
    return (
        f"top-1 {top1}, trained {record.train_seconds or 0:.0f} s (of which waited for clips "
        f"{record.data_wait_seconds or 0:.0f} s), peak memory {record.peak_memory_gib or 0:.2f} GiB{note}"
    )


def _report(out: Path) -> Path:
    from kinelite.report.page import make_report

    return make_report([out], out)


def _help() -> str:
    lines = []
    for name, make in RECIPES.items():
        lines.append(f"  {name}\n      {summary(make)}")
    return (
        "usage: kinelite train RECIPE [flags]\n\n"
        + "\n".join(lines)
        + "\n\nFlags of a recipe: kinelite train RECIPE --help\n"
        "Example: kinelite train sfa --data folder:clips/ --model vivit_fe_ti --pretrained deit_tiny.safetensors "
        "--out runs/mine"
    )
