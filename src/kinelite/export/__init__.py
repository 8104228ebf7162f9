"""Models for phones and other small devices: written by torch.export, rewritten for the runtime, checked in it.

``graph`` writes a model down and ``rewrite`` gives it the operators that a runtime has: ``conv3d`` and ``pool3d``
put volumes together from images, ``layout`` with ``axes`` removes rearrangements, ``fold`` computes what is constant.
A format is one file in ``formats``; ``facts`` is what every file says of itself, ``verify`` runs it before it is kept,
``make`` does all of that, and ``exported`` opens a file for predictions.

Importing this room imports no torch. The room and the function of that name share ``kinelite.export``, so the room
itself can be called.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from kinelite.errors import SetupError, UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from kinelite.export.facts import Facts
    from kinelite.export.make import Written
    from kinelite.train.trained import Trained

FORMATS = tuple(sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent / "formats")])))
"""One file each."""
PRECISIONS = ("fp32", "fp16", "int8")
TOLERANCE = 1e-3
"""Largest difference between a logit of an fp32 file and PyTorch's."""

Run = Callable[..., Sequence["Tensor"]]
"""From a normalised video, fp32 ``[b, c, t, h, w]``, to the logits ``[b, k]`` of each task; of a stream from a frame
``[b, c, h, w]`` and its state to the logits and the new state."""


Inputs = tuple["Tensor", ...]
"""What a graph is called with."""


class Gap(Exception):
    """A runtime, or what writes its files, lacks what a model needs; the message names it."""


@runtime_checkable
class Format(Protocol):
    """What a module of a format provides."""

    SUFFIX: str
    """Of its files."""
    PRECISIONS: tuple[str, ...]
    AXES: int
    """Dimensions that its tensors may have where they are permuted."""

    def missing(self) -> str | None:
        """Why files cannot be written or run here, with what to do about it; None: they can."""
        ...

    def write(
        self, graph: Any, inputs: Inputs, path: Path, facts: str, precision: str, clips: Sequence[Inputs]
    ) -> None:
        """Write a rewritten graph, with what it says of itself; ``clips`` are inputs to calibrate int8 with.

        Raises `Gap`.
        """
        ...

    def read_facts(self, path: Path) -> str:
        """What a file says of itself; '' for a file of someone else. Raises UsageError for one that is damaged."""
        ...

    def open(self, path: Path, threads: int | None = None) -> Run:
        """The file in its runtime. Raises `Gap` where this machine has none, UsageError for a damaged file."""
        ...


@runtime_checkable
class Checked(Protocol):
    """A format whose runtime other systems have, so that its files are kept by what they say of themselves."""

    def check(self, path: Path, facts: Facts) -> None:
        """Raises UsageError for a file that does not take and give what its header says."""
        ...


def find(name: str) -> Format:
    """The format of that name. Raises UsageError for an unknown one."""
    if name not in FORMATS:
        raise unknown("format", name, FORMATS, "kinelite export --help")
    return importlib.import_module(f"{__name__}.formats.{name}")  # type: ignore[return-value]


def ready(name: str) -> Format:
    """The format of that name. Raises SetupError, naming the command that installs what it needs."""
    found = find(name)
    if reason := found.missing():
        raise SetupError(f"Format '{name}': {reason}")
    return found


def format_of(path: str | Path) -> str | None:
    """The format that a file's name stands for, None for other files."""
    return next((name for name in FORMATS if Path(path).name.endswith(find(name).SUFFIX)), None)


def names(inputs: Inputs, outputs: int) -> tuple[list[str], list[str]]:
    """Names of what a file takes and gives: 'video' and 'logits_0', or 'frame' and 'state_0' of a stream and so on."""
    states = len(inputs) - 1
    given = ["frame" if states else "video", *(f"state_{number}" for number in range(states))]
    made = [f"logits_{number}" for number in range(outputs - states)]
    return given, [*made, *(f"new_state_{number}" for number in range(states))]


def lacking(name: str, libraries: Sequence[str]) -> str | None:
    """The sentence for an extra whose libraries are not all installed."""
    absent = [library for library in libraries if not _installed(library)]
    if not absent:
        return None
    return f"{', '.join(absent)} not installed. Install with: pip install 'kinelite[{name}]'"


def _installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def damaged(path: Path, what: object) -> UsageError:
    """The error for a file that cannot be used."""
    return UsageError(f"{path} is damaged or no file of this kind: {what}. Write it again: kinelite export --help")


class _Room(ModuleType):
    def __call__(self, source: str | Path | Trained, format: str = "onnx", **more: Any) -> Written:
        """See `kinelite.export.make.export`."""
        from kinelite.export.make import export

        return export(source, format, **more)


sys.modules[__name__].__class__ = _Room
