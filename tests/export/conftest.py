"""Models small enough to be written down in seconds, none of whose weights is idle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kinelite.export.source import stir
from kinelite.models.registry import create_model

FRAMES, SIZE = 4, 64


@pytest.fixture(scope="session")
def built() -> Callable[..., tuple[nn.Module, Tensor]]:
    """``built("x3d_xs")``: the model in evaluation mode and a video of 4 frames of 64 pixels."""

    def build(name: str, batch: int = 1, **more: Any) -> tuple[nn.Module, Tensor]:
        torch.manual_seed(0)
        model = create_model(name, frames=FRAMES, size=SIZE, num_classes=7, **more).eval()
        # Gains of zero, and statistics of 0 and 1, would hide half of what can go wrong.
        stir(model)
        return model, torch.randn(batch, 3, FRAMES, SIZE, SIZE)

    return build
