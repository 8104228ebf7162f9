"""ExecuTorch on the CPU, XNNPACK and portable kernels, with models that kinelite export writes."""

from __future__ import annotations

from kinelite.bench import exported
from kinelite.bench.case import Case
from kinelite.bench.devices import Ready
from kinelite.records import cpu_name

PRECISIONS = ("fp32", "fp16", "int8")
MODES = exported.MODES
IN_TURN = True


def missing() -> str | None:
    """Which libraries are not installed, and how to install them."""
    return exported.missing("executorch")


def describe() -> str:
    """The processor's name."""
    return cpu_name()


def choose() -> str:
    """fp32, the precision of the model."""
    return "fp32"


def prepare(case: Case) -> Ready:
    """The exported model, loaded. Raises `Unsupported` naming what the runtime lacks."""
    return exported.prepare(case, "executorch")
