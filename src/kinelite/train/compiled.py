"""Models through torch.compile, where there is a compiler."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

BACKEND = "inductor"
"""What torch.compile hands its graphs to. Tests that are not about the compiler take 'eager'."""


def compiled(model: nn.Module, device: torch.device) -> tuple[nn.Module, str]:
    """``model`` compiled for ``device`` (names of parameters as before), and a sentence on what was done.

    Compilation happens at the first step of each shape and mode. Where nothing can be compiled at all, the model comes
    back as it is and the sentence says why: it computes the same without.
    """
    problem = _problem(device)
    if problem:
        return model, f"not compiled: torch.compile does not work here ({problem}); slower, with equal results"
    return cast(Any, torch.compile(model, backend=BACKEND)), "compiled: the first steps take a minute or more"


def _problem(device: torch.device) -> str:
    """Why not even a sum can be compiled; empty where it can."""
    try:
        torch.compile(_double, backend=BACKEND)(torch.zeros(8, device=device))
    except Exception as error:  # a compiler can be missing, broken or not allowed to run in as many ways
        # The first line says which backend failed, the second why.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return " ".join([f"{type(error).__name__}:", *lines[:2]])[:160]
    return ""


def _double(values: torch.Tensor) -> torch.Tensor:
    return values + values
