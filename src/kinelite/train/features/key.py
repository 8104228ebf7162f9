"""What determines the bytes of stored features; a store made from anything else is not the one that is wanted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kinelite.config import NetConfig, from_json
from kinelite.data.augment import policy as policy_values
from kinelite.data.manifest import Manifest
from kinelite.errors import UsageError
from kinelite.models import Factorised
from kinelite.types import InputSpec

VERSION = 1
"""Of the files and of how frames are chosen; a change of either makes stores of before another kind."""
Precision = Literal["fp16", "bf16", "fp32"]


@dataclass(frozen=True)
class Key:
    """Everything that features depend on, as saved in ``store.json``.

    What decodes is not among it: a decoder is only chosen where it gives the same frames. Nor is the seed where nothing
    is drawn, which is a store of one view and one phase per tubelet or more.
    """

    weights: str
    """Fingerprint of the encoder's weights, see `fingerprint`."""
    model: str
    """Name of the model."""
    encoder: str | None
    """``net.encoder``."""
    pool: str | None
    """``net.pool``."""
    tubelet: int
    """Frames per tubelet."""
    width: int
    """Length d of a feature vector."""
    spec: InputSpec
    data: str
    """`Manifest.fingerprint` of the clips: all of the rows, and no others."""
    clips: int
    views: int
    """Stored views of each clip: the first is the test view, the others are drawn as training clips are."""
    phases: int = 1
    """Stored moments of each tubelet."""
    policy: str | None = None
    """Augmentation policy of the drawn views, with all its values; None where no view is drawn."""
    seed: int = 0
    precision: Precision = "fp16"
    """Type that features are stored in."""
    compute: Precision = "fp32"
    """Precision that the encoder computes in."""
    version: int = VERSION

    @property
    def tubelets(self) -> int:
        """Tubelets n of one clip of ``spec.frames`` frames."""
        return self.spec.frames // self.tubelet

    @property
    def vectors(self) -> int:
        """Vectors m of one view, ``n * phases``: tubelet by tubelet, its phases one after another."""
        return self.tubelets * self.phases

    @property
    def policy_name(self) -> str | None:
        """The policy's name without its values."""
        return self.policy and self.policy.partition(":")[0]

    def digest(self) -> str:
        """Short hex digest; equal exactly when the keys are."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def make_key(
    model: Factorised,
    manifest: Manifest,
    *,
    net: NetConfig,
    views: int,
    phases: int = 1,
    policy: str = "none",
    seed: int = 0,
    precision: Precision = "fp16",
    compute: Precision = "fp32",
) -> Key:
    """The key of features of all rows of ``manifest`` by the encoder of ``model``, which ``net`` was built with.

    ``policy`` and ``seed`` only matter from the second view on. Raises UsageError for less than one view, phases that
    are not an odd number, and an unknown policy.
    """
    if views < 1:
        raise UsageError(f"{views} views per clip: give 1 or more (--features.views 4).")
    if phases < 1 or phases % 2 == 0:
        raise UsageError(f"{phases} phases per tubelet: give an odd number, so that one is in the middle: 1, 3, 5.")
    drawn = views > 1
    return Key(
        weights=fingerprint(model.encoder),
        model=model.card.name if model.card else type(model).__name__,
        encoder=net.encoder,
        pool=net.pool,
        tubelet=tubelet_of(model),
        width=model.width,
        spec=model.spec,
        data=manifest.fingerprint(),
        clips=len(manifest.rows),
        views=views,
        phases=phases,
        policy=f"{policy}: {policy_values(policy)}" if drawn else None,
        seed=seed if drawn else 0,
        precision=precision,
        compute=compute,
    )


def tubelet_of(model: Factorised) -> int:
    """Frames of one tubelet: 1 for models that see frame by frame."""
    return int(getattr(model, "tubelet", 1))


@torch.no_grad()
def fingerprint(encoder: nn.Module) -> str:
    """Hex digest over names, types, shapes and bytes of an encoder's parameters and buffers."""
    found = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(_bytes(tensor))
    return found.hexdigest()[:16]


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def differences(there: Key, now: Key) -> dict[str, tuple[Any, Any]]:
    """Field -> (value there, value now) wherever two keys differ; fields of ``spec`` by their own names."""
    old, new = _flat(there), _flat(now)
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}


def refuse_other(folder: str, there: Key, now: Key) -> None:
    """Raise UsageError that lists what differs, when the store in ``folder`` is not the one that is wanted now."""
    found = differences(there, now)
    if found:
        lines = "\n".join(
            f"  {_WORDS.get(name, name)}: {old!r} there, {new!r} now" for name, (old, new) in found.items()
        )
        raise UsageError(
            f"'{folder}' holds features that were made otherwise:\n{lines}\n"
            "Choose another folder, or delete that one. What it holds: kinelite features check " + folder
        )


_WORDS = {
    "weights": "weights of the encoder",
    "data": "clips (fingerprint of paths, labels and splits)",
    "precision": "precision of storage",
    "compute": "precision of computing",
    "version": "format",
}


def _flat(key: Key) -> dict[str, Any]:
    values = {field.name: getattr(key, field.name) for field in fields(key) if field.name != "spec"}
    return values | asdict(key.spec)


def read_key(value: Any) -> Key:
    """A key from the JSON value of its fields. Raises UsageError naming the field that does not fit."""
    return from_json(value, Key)
