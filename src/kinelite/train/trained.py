"""The file that a run ends with: weights, and in its header all that is needed to use them on a clip."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from kinelite.config import NetConfig, TrainConfig, from_json, to_json
from kinelite.data.manifest import Manifest
from kinelite.errors import UsageError, neighbours
from kinelite.models import create_model
from kinelite.models.checkpoints.header import damaged, normalisation_of
from kinelite.models.checkpoints.hub import find_weights
from kinelite.models.weights import load_weights, read_metadata, save_weights
from kinelite.records import replace_bytes
from kinelite.types import InputSpec

if TYPE_CHECKING:
    from kinelite.train.part import Part

FILE = "model.safetensors"
_BEST = "best.safetensors"


@dataclass
class Trained:
    """A trained model with its class names, ready to predict."""

    model: nn.Module
    spec: InputSpec
    tasks: dict[str, tuple[str, ...]]
    name: str
    source: Path
    """The weight file."""
    folder: Path
    """The run folder (that of the file, when a file was given; one below runs/ for what was fetched)."""


def save_trained(part: Part, manifest: Manifest, config: TrainConfig, out: Path) -> Path:
    """Write ``model.safetensors`` into the run folder."""
    header = {
        "model": config.model,
        "net": to_json(config.net),
        "spec": asdict(part.spec),
        "tasks": {name: list(classes) for name, classes in manifest.tasks.items()},
    }
    path = out / FILE
    save_weights(path, part.model, header)
    return path


def load_trained(run: str | Path, device: str | torch.device = "cpu") -> Trained:
    """The model of a run folder, of a weight file (also hf:OWNER/REPOSITORY/FILE or an https address) that kinelite
    train wrote, or of published weights (MODEL@WEIGHTS, see `kinelite.train.published`), in evaluation mode.

    Raises UsageError when there is none, naming what was looked for; SetupError when it cannot be fetched.
    """
    from kinelite.train.published import load_published, names_published

    if names_published(str(run)):
        return load_published(str(run), device)
    given, folder = Path(run), None
    if str(run).startswith(("hf:", "https:", "http:")):
        given, folder = find_weights(str(run)).path, Path("runs") / re.sub(r"[^\w.@-]+", "-", str(run))
    path = _weight_file(
        given,
        "Train one with: kinelite train sfa --data SPEC, or name published weights: MODEL@WEIGHTS, "
        "as kinelite list models --pretrained shows them",
    )
    return load_own(path, device, folder)


def init_weights(run: str) -> str:
    """The weights that ``--init RUN`` stands for: the file of a run folder, or a file or address as it is.

    Raises UsageError when there is none.
    """
    # Not a Path for what is an address: that would make one slash of the two in https://.
    if run.startswith(("hf:", "https:", "http:")):
        return run
    return str(_weight_file(Path(run), "--init takes the folder of a finished run, or its weight file."))


def _weight_file(given: Path, hint: str) -> Path:
    path = given / FILE if given.is_dir() else given
    if path.is_file():
        return path
    unfinished = " The run is unfinished: repeat its train command." if (given / "checkpoints").is_dir() else ""
    beside = "" if given.exists() else f" {neighbours(given)}"
    raise UsageError(f"No trained model at '{given}': looked for {path}.{unfinished}{beside} {hint}")


@dataclass(frozen=True)
class Header:
    """What `save_trained` notes beside the weights."""

    model: str
    net: NetConfig
    spec: InputSpec
    tasks: dict[str, tuple[str, ...]]


def load_own(path: Path, device: str | torch.device = "cpu", folder: Path | None = None) -> Trained:
    """The model of a weight file that kinelite train wrote, built as its header says; ``folder``: of its results.

    Raises UsageError for other files, and for a header that is damaged.
    """
    found = read_metadata(path)
    missing = {field.name for field in fields(Header)} - set(found)
    if missing:
        raise UsageError(
            f"'{path}' holds weights but not what a prediction needs ({', '.join(sorted(missing))}). "
            "It was not written by kinelite train; start a training from it with --pretrained."
        )
    normalisation_of(path)  # numbers that the types alone do not rule out
    try:
        header: Header = from_json(found, Header)
    except UsageError as error:
        raise damaged(path, str(error.__cause__)) from error
    spec = header.spec
    if spec.stride < 1:
        raise damaged(path, f"its stride is {spec.stride}")
    heads = {name: len(classes) for name, classes in header.tasks.items()}
    model: Any = create_model(header.model, heads=heads, frames=spec.frames, size=spec.size, net=header.net)
    load_weights(model, str(path))
    model.spec = spec
    return Trained(model.to(device).eval(), spec, header.tasks, header.model, path, folder or path.parent)


def save_best(out: Path, state: dict[str, torch.Tensor]) -> None:
    """Keep the weights of the best evaluation so far."""
    replace_bytes(out / _BEST, save({k: v.detach().cpu().contiguous() for k, v in state.items()}))


def load_best(out: Path, part: Part) -> None:
    """Put the kept weights into the model."""
    if (out / _BEST).is_file():
        part.model.load_state_dict(load_file(out / _BEST))
