"""Weights in and out: from files and the hub into models, a readable difference when they do not fit, whole files."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from kinelite.errors import SetupError, UsageError
from kinelite.models.checkpoints.files import read_checkpoint
from kinelite.models.checkpoints.header import KEY, header_of, normalisation_of
from kinelite.models.checkpoints.hub import find_weights
from kinelite.models.checkpoints.layout import Layout, State, find_layout
from kinelite.models.checkpoints.misfit import part_of, refuse_misfit
from kinelite.models.factorised import Adapter, Factorised
from kinelite.models.model import VideoModel


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
    """Fill a model from weights of an image model, of a whole Kinelite model, or of another project's whole model.

    Args:
        model: what `create_model` returned, on any device.
        source: ``'hub'`` (the image weights that timm publishes; the card's first release for a model without),
            the name of a release of the card, ``hf:OWNER/REPOSITORY[@REVISION][/FILE]``, an https address, a file
            (`kinelite.models.checkpoints.files.read_checkpoint`), or a state dict.
            Image weights have timm names: patch kernel inflated, positions resampled, classifier dropped, fp16 to
            fp32. Whole models have our names or those of one of the model's `layouts`: positions are fitted to another
            number of frames or pixels, an adapter in the file is installed; one that the file lacks stays as it is. The
            classifier of a published model is taken when it has as many classes, else it stays new.
        allow_new_head: a classifier of other tasks or class counts keeps its random start instead of being an error,
            also when the weights have our names.

    Raises:
        UsageError: no such file, not weights, or a misfit (with the difference). The model is unchanged.
        SetupError: the file cannot be fetched.
    """
    state, label, remark, file = _read(model, source)
    trained = normalisation_of(file) if file else {}
    layout = None if _ours(model, state) else find_layout(getattr(model, "layouts", ()), state)
    if layout:
        report = _load_layout(model, layout, state, label)
    elif any(key.startswith("encoder.") for key in state) or not isinstance(model, VideoModel):
        report = _load_whole(model, state, label, [], allow_new_head)
        remark += _as_trained(model, trained)
    else:
        report = _load_image(model, state, label)
    return replace(report, notes=(*report.notes, *remark))


def classifier_size(model: Any, state: Mapping[str, Tensor]) -> int | None:
    """Classes of the only classifier in weights for ``model``, by its own names or those of its layouts.

    None when there is none, or one for each of several tasks.
    """
    layout = None if _ours(model, state) else find_layout(getattr(model, "layouts", ()), state)
    if layout:
        state = _translated(model, layout, state, "The file")
    biases = [shape for name, shape in part_of(state, "head").items() if name.endswith("bias")]
    return biases[0][0] if len(biases) == 1 else None


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file of any known format, on the CPU, without running anything in it.

    Raises UsageError as `kinelite.models.checkpoints.files.read_checkpoint` does.
    """
    return read_checkpoint(Path(path))


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `save_weights` was given beside the weights; empty for others' files. Raises like `read_weights`."""
    found = header_of(Path(path))
    if not found:
        # Not ours, then; a file that is damaged or absent is told by its reader.
        read_checkpoint(Path(path))
    return found


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
        save_file(tensors, partial, metadata={KEY: json.dumps(dict(metadata or {}))})
        _flush(partial)
        os.replace(partial, path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise SetupError(f"Could not write {path}: {error}. Free some space or choose another --out.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _read(
    model: Any, source: str | os.PathLike[str] | Mapping[str, Tensor]
) -> tuple[State, str, tuple[str, ...], Path | None]:
    """Tensors, what to call them, what to say of them, and the file that they are from."""
    if isinstance(source, Mapping):
        return dict(source), "memory", (), None
    card = getattr(model, "card", None)
    if source == "hub":
        image = model.published_image() if isinstance(model, VideoModel) else None
        if image:
            return *image, (), None
        if not (card and card.releases):
            raise UsageError(
                "'hub' stands for published weights, and there are none of this model. Pass a file of weights."
            )
        source = card.releases[0].name
    found = find_weights(str(source), card)
    remark = (f"classes: {found.release.classes}", f"licence: {found.release.licence}") if found.release else ()
    return read_checkpoint(found.path), found.label, remark, found.path


def _as_trained(model: Any, named: Mapping[str, tuple[float, ...]]) -> tuple[str, ...]:
    """Give a model the mean and standard deviation that its weights were trained with, and say so."""
    changed = {k: v for k, v in named.items() if getattr(model.spec, k) != v}
    model.spec = replace(model.spec, **changed)
    return tuple(f"input {k} {v}, as the weights were trained" for k, v in changed.items())


def _ours(model: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether the names are this model's own, though perhaps of another size; some are also marks of a layout."""
    return 2 * len(model.state_dict().keys() & state.keys()) > len(state)


def _load_image(model: VideoModel, state: State, label: str) -> WeightReport:
    if type(model).image_weights is VideoModel.image_weights:
        known = ", ".join(dict.fromkeys(["ours", *(layout.name for layout in model.layouts)]))
        raise UsageError(
            f"The weights of {label} are not of this model: their names, such as {next(iter(state), 'none')}, are none "
            f"of {known}. It does not start from image weights either."
        )
    fitted, notes = model.image_weights(state)
    encoder = model.encoder.state_dict()
    wanted = {k: v for k, v in encoder.items() if model.in_backbone(f"encoder.{k}")}
    fitted, counters = _with_counters(wanted, fitted)
    refuse_misfit(label, "the image encoder", wanted, fitted, hint=_known_layouts(model))
    model.encoder.load_state_dict(encoder | fitted)
    own = model.state_dict()
    # A part of the encoder that image weights do not have is named after its last words: time_embed, temporal_fc.
    within = sorted({k.rpartition(".")[0].rpartition(".")[2] or k for k in encoder if k not in wanted})
    new = [*within, *(part for part in dict.fromkeys(k.split(".")[0] for k in own) if part != "encoder")]
    return WeightReport(label, "image", len(fitted) - counters, tuple(new), tuple(notes))


def _load_layout(model: Any, layout: Layout, state: State, label: str) -> WeightReport:
    """Weights of another project. Their classifier is taken if it has as many classes, else it stays new."""
    names = {layout.renamed(name): name for name in state}
    state = _translated(model, layout, state, label)
    for name in ("weight", "bias"):
        if f"head.{name}" in state and len(model.head) == 1:
            ours = f"head.{next(iter(model.head))}.{name}"
            state[ours] = state.pop(f"head.{name}")
            names[ours] = names.pop(f"head.{name}", ours)
    state, counters = _with_counters(model.state_dict(), state)
    report = _load_whole(model, state, label, [f"names of {layout.name}"], True, names)
    notes = (*report.notes, *_as_trained(model, layout.spec))
    return replace(report, loaded=report.loaded - counters, notes=notes)


def _translated(model: Any, layout: Layout, state: Mapping[str, Tensor], label: str) -> State:
    try:
        return layout.translate(model, state)
    except UsageError:
        raise
    except Exception as error:  # a damaged file: what a conversion expects is missing or of another shape
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{label} has names of {layout.name}, but is not whole or of another size: {what}.") from error


def _load_whole(
    model: nn.Module,
    state: State,
    label: str,
    notes: list[str],
    allow_new_head: bool,
    names: Mapping[str, str] | None = None,
) -> WeightReport:
    state, wanted, new = dict(state), model.state_dict(), []
    if isinstance(model, VideoModel):
        model.fit_state(state, notes)
    if allow_new_head and (told := _new_classifier(state, wanted)):
        notes.append(told)
        new.append("head")
    if part_of(wanted, "adapter") and not part_of(state, "adapter"):
        new.append("adapter")
    fresh = tuple(f"{part}." for part in new)
    given = {k: v for k, v in state.items() if not fresh or not k.startswith(fresh)}
    state = given | {k: v for k, v in wanted.items() if fresh and k.startswith(fresh)}
    if isinstance(model, Factorised) and part_of(state, "adapter") and not part_of(wanted, "adapter"):
        with torch.device("meta"):
            wanted |= {f"adapter.{k}": v for k, v in Adapter(model.width).state_dict().items()}
        refuse_misfit(label, "this model", wanted, state, names)
        model.add_adapter()
        notes.append("adapter installed, as in the file")
    refuse_misfit(label, "this model", wanted, state, names)
    model.load_state_dict(state)
    return WeightReport(label, "model", len(given), tuple(new), tuple(notes))


def _new_classifier(state: State, wanted: State) -> str:
    """Why the classifier of a file cannot be used, or '' when it can or when the file is damaged there.

    Whole is a classifier with as many biases as rows; anything else is left for the comparison to tell.
    """
    given, own = part_of(state, "head"), part_of(wanted, "head")
    if given == own:
        return ""
    if not given:
        return "the classifier is new, because the file has none"
    width = next(shape[1] for name, shape in own.items() if name.endswith("weight"))
    for name, shape in given.items():
        other = (
            name.removesuffix("weight") + "bias" if name.endswith("weight") else name.removesuffix("bias") + "weight"
        )
        if other not in given or shape[0] != given[other][0] or (len(shape) > 1 and shape[1:] != (width,)):
            return ""
    rows = [", ".join(str(s[0]) for n, s in part.items() if n.endswith("bias")) for part in (given, own)]
    return f"the classifier is new, because the classes differ ({rows[0]} in the file, {rows[1]} here)"


def _with_counters(wanted: State, state: State) -> tuple[State, int]:
    """The state with the model's own counters of batches where the file has none, and how many those are."""
    counters = {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked") and k not in state}
    return {**state, **counters}, len(counters)


def _known_layouts(model: VideoModel) -> str:
    names = ", ".join(dict.fromkeys(layout.name for layout in model.layouts))
    return f"\nThey were taken for image weights, for their names are none of: ours, {names}." if names else ""


def _flush(path: Path) -> None:
    """Force a file or folder to the disk, so that a power cut after the rename cannot lose its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
