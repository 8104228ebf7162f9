"""Weights in and out: safetensors only, a readable difference when they do not fit, files that are whole or absent."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kinelite.errors import SetupError, UsageError
from kinelite.models.checkpoints.layout import Layout, find_layout
from kinelite.models.encoder import EncoderPlan, hub_weights, timm_weights
from kinelite.models.factorised import Adapter, Factorised
from kinelite.models.model import VideoModel

PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".pyth", ".tar")
CONVERT = (
    "Pickle files can run code when they are opened, so they are refused. Convert it once, where you trust it: "
    'python -c "import torch, safetensors.torch as s; '
    "w = torch.load('{file}', map_location='cpu', weights_only=True); "
    "w = w.get('model', w.get('state_dict', w)); s.save_file({{k: v.contiguous() for k, v in w.items()}}, "
    "'{stem}.safetensors')\""
)
SHOWN = 8
"""Most lines of each kind in a difference."""
_METADATA_KEY = "kinelite"


@dataclass(frozen=True)
class WeightReport:
    """What `load_weights` did, for printing."""

    source: str
    kind: str
    """image: weights of an image model into the encoder. model: weights of a whole Kinelite model."""
    loaded: int
    """Tensors that were filled from the source."""
    new: tuple[str, ...]
    """Parts that keep their random start, such as temporal and head."""
    notes: tuple[str, ...]
    """What was changed on the way: inflation, interpolation, a classifier left out."""

    def __str__(self) -> str:
        new = f"; new: {', '.join(self.new)}" if self.new else ""
        return "; ".join([f"{self.loaded} tensors from {self.source} ({self.kind}){new}", *self.notes])


def load_weights(
    model: nn.Module, source: str | os.PathLike[str] | Mapping[str, Tensor], *, allow_new_head: bool = False
) -> WeightReport:
    """Fill a model from weights of an image model or of a whole Kinelite model.

    Args:
        model: what `create_model` returned, on any device.
        source: ``'hub'`` (the encoder's image weights as timm publishes them), a safetensors file, or a state dict.
            Image weights have timm names: patch kernel inflated, positions resampled, classifier dropped, fp16 to
            fp32. Whole models have our names: temporal positions are interpolated when the number of frames differs,
            an adapter in the file is installed; one that the file lacks stays as it is.
        allow_new_head: a classifier of other tasks or class counts keeps its random start instead of being an error.

    Raises:
        UsageError: pickle, no such file, not safetensors, or a misfit (with the difference). The model is unchanged.
        SetupError: the hub cannot be reached.
    """
    if isinstance(source, Mapping):
        state, label = dict(source), "memory"
    elif source == "hub":
        state, label = _published(model)
    else:
        state, label = read_weights(Path(source)), str(source)
    layout = find_layout(getattr(model, "layouts", ()), state)
    if layout:
        return _load_layout(model, layout, state, label)
    if any(key.startswith("encoder.") for key in state) or not isinstance(model, VideoModel):
        return _load_whole(model, state, label, [], allow_new_head)
    return _load_image(model, state, label)


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU. Raises UsageError for anything else, without opening a pickle."""
    _check_file(path := Path(path))
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _not_safetensors(path, error) from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `save_weights` was given beside the weights; empty for others' files. Raises like `read_weights`."""
    _check_file(path := Path(path))
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get(_METADATA_KEY, "{}"))
    except SafetensorError as error:
        raise _not_safetensors(path, error) from error


def save_weights(
    path: str | os.PathLike[str], model: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write weights and JSON metadata to a safetensors file that is, at any moment, the old one or the new one.

    Raises SetupError when the folder cannot be written or the disk is full; the old file is then untouched.
    """
    path = Path(path)
    state = model.state_dict() if isinstance(model, nn.Module) else model
    # clone: safetensors refuses tensors that share memory.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    partial = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, metadata={_METADATA_KEY: json.dumps(dict(metadata or {}))})
        _flush(partial)
        os.replace(partial, path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise SetupError(f"Could not write {path}: {error}. Free some space or choose another --out.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def difference(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Lines that say how two state dicts differ in names and shapes; empty when they fit."""
    missing = [f"  {k} {_shape(v)}" for k, v in wanted.items() if k not in given]
    extra = [f"  {k} {_shape(v)}" for k, v in given.items() if k not in wanted]
    shapes = [
        f"  {k}: file {_shape(given[k])}, model {_shape(v)}"
        for k, v in wanted.items()
        if k in given and given[k].shape != v.shape
    ]
    return [
        *_some("in the model but not in the file", missing),
        *_some("in the file but not in the model", extra),
        *_some("of another shape", shapes),
    ]


def _published(model: Any) -> tuple[dict[str, Tensor], str]:
    plan = getattr(model, "plan", None)
    if isinstance(plan, EncoderPlan):
        return hub_weights(plan), plan.name
    if getattr(model, "image", ""):
        return timm_weights(model.image), model.image
    raise UsageError("'hub' holds image weights, and this model has no image encoder. Pass a safetensors file.")


def _load_image(model: VideoModel, state: dict[str, Tensor], label: str) -> WeightReport:
    fitted, notes = model.image_weights(state)
    encoder = model.encoder.state_dict()
    wanted = {k: v for k, v in encoder.items() if model.in_backbone(f"encoder.{k}")}
    _refuse_misfit(label, "the image encoder", wanted, fitted)
    model.encoder.load_state_dict(encoder | fitted)
    own = model.state_dict()
    # A part of the encoder that image weights do not have is named after its last words: time_embed, temporal_fc.
    within = sorted({k.rpartition(".")[0].rpartition(".")[2] or k for k in encoder if k not in wanted})
    new = [*within, *(part for part in dict.fromkeys(k.split(".")[0] for k in own) if part != "encoder")]
    return WeightReport(label, "image", len(fitted), tuple(new), tuple(notes))


def _load_layout(model: VideoModel, layout: Layout, state: dict[str, Tensor], label: str) -> WeightReport:
    """Weights of another project. Their classifier is taken if it has as many classes, else it stays new."""
    state = layout.translate(model, state)
    for name in ("weight", "bias"):
        if f"head.{name}" in state and len(model.head) == 1:
            state[f"head.{next(iter(model.head))}.{name}"] = state.pop(f"head.{name}")
    partial = len([k for k in state if k.startswith("head.")]) < 2 * len(model.head) and _part(state, "head")
    counters = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked") and k not in state}
    changed = {k: v for k, v in layout.spec.items() if getattr(model.spec, k) != v}
    report = _load_whole(model, state | counters, label, [f"names of {layout.name}"], not partial)
    model.spec = replace(model.spec, **changed)
    notes = [f"input {k} {v}, as the weights were trained" for k, v in changed.items()]
    return replace(report, loaded=report.loaded - len(counters), notes=(*report.notes, *notes))


def _load_whole(
    model: nn.Module, state: dict[str, Tensor], label: str, notes: list[str], allow_new_head: bool
) -> WeightReport:
    wanted, new = model.state_dict(), []
    if isinstance(model, VideoModel):
        model.fit_state(state, notes)
    if allow_new_head and _part(state, "head") != _part(wanted, "head"):
        notes.append("the classifier is new, because the classes differ")
        new.append("head")
    if _part(wanted, "adapter") and not _part(state, "adapter"):
        new.append("adapter")
    fresh = tuple(f"{part}." for part in new)
    given = {k: v for k, v in state.items() if not fresh or not k.startswith(fresh)}
    state = given | {k: v for k, v in wanted.items() if fresh and k.startswith(fresh)}
    if isinstance(model, Factorised) and _part(state, "adapter") and not _part(wanted, "adapter"):
        with torch.device("meta"):
            wanted |= {f"adapter.{k}": v for k, v in Adapter(model.width).state_dict().items()}
        _refuse_misfit(label, "this model", wanted, state)
        model.add_adapter()
        notes.append("adapter installed, as in the file")
    _refuse_misfit(label, "this model", wanted, state)
    model.load_state_dict(state)
    return WeightReport(label, "model", len(given), tuple(new), tuple(notes))


def _part(state: Mapping[str, Tensor], part: str) -> dict[str, torch.Size]:
    return {k: v.shape for k, v in state.items() if k.startswith(f"{part}.")}


def _refuse_misfit(label: str, what: str, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    lines = difference(wanted, given)
    if not lines:
        return
    heads_only = _part(wanted, "head") != _part(given, "head") and not difference(
        {k: v for k, v in wanted.items() if not k.startswith("head.")},
        {k: v for k, v in given.items() if not k.startswith("head.")},
    )
    hint = (
        "\nOnly the classifier differs: start from it with --init, which makes a new classifier." if heads_only else ""
    )
    raise UsageError(f"The weights of {label} do not fit {what}:\n" + "\n".join(lines) + hint)


def _some(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [f"{len(lines)} {title}:", *lines[:SHOWN], *more]


def _check_file(path: Path) -> None:
    if path.suffix.lower() in PICKLED:
        raise UsageError(f"{path} is a pickle file. " + CONVERT.format(file=path, stem=path.stem))
    if not path.is_file():
        there = [p.name for p in path.parent.glob("*.safetensors")] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, there, n=3, cutoff=0.3) or there[:3]
        hint = f" In that folder: {', '.join(near)}." if near else ""
        raise UsageError(f"There is no weight file {path}.{hint} Give 'hub' or a .safetensors file.")


def _not_safetensors(path: Path, error: Exception) -> UsageError:
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"PK", b"\x80\x02"):
        return UsageError(f"{path} is a pickle file. " + CONVERT.format(file=path, stem=path.stem))
    return UsageError(f"{path} is not a whole safetensors file ({error}). Copy or download it again.")


def _flush(path: Path) -> None:
    """Force a file or folder to the disk, so that a power cut after the rename cannot lose its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
