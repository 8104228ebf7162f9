"""What runs a model, one file each: PyTorch on a CPU, on an NVIDIA or Apple GPU, and runtimes of exported models."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from kinelite.bench.case import Case
from kinelite.errors import unknown


class Unsupported(Exception):
    """The device, or the model, cannot do what the case asks; the message says why."""


@dataclass
class Ready:
    """A case that can be called, and what is known when it has been."""

    call: Callable[[], object]
    """One step, batch, clip or frame, ended when it returns."""
    memory: Callable[[], Mapping[str, Any]]
    """Fields of the record about memory since `reset`; may make a call of its own."""
    reset: Callable[[], None] = lambda: None
    """Forget the peaks so far."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Fields of the record that do not depend on calling."""


@runtime_checkable
class Device(Protocol):
    """What a module of this package provides."""

    PRECISIONS: tuple[str, ...]
    """Those that can be asked for; the first is the default unless `choose` says otherwise."""
    MODES: tuple[str, ...]
    IN_TURN: bool
    """Whether a reference is called in turn by default: where speed wanders and memory holds two models."""

    def missing(self) -> str | None:
        """Why it cannot be used here, with what to do about it; None: it can."""
        ...

    def describe(self) -> str:
        """The name of the processor that computes."""
        ...

    def choose(self) -> str:
        """The precision that is used when none is asked for."""
        ...

    def prepare(self, case: Case) -> Ready:
        """The model on the device, inputs made. Raises `Unsupported`."""
        ...


def names() -> list[str]:
    """All devices, whether they are here or not."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Device:
    """The device of that name. Raises UsageError for an unknown one."""
    if name not in names():
        raise unknown("device", name, names(), "kinelite bench --help")
    return importlib.import_module(f"{__name__}.{name}")  # type: ignore[return-value]
