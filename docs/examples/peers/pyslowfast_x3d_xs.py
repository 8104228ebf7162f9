"""PySlowFast's X3D-XS, from a checkout: KINELITE_PEER_PYSLOWFAST is its folder. It needs its own requirements."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torch import Tensor, nn

if not (folder := os.environ.get("KINELITE_PEER_PYSLOWFAST")):
    sys.exit("Set KINELITE_PEER_PYSLOWFAST to a checkout of github.com/facebookresearch/SlowFast.")
sys.path.insert(0, folder)

from slowfast.config.defaults import get_cfg  # pyright: ignore[reportMissingImports]
from slowfast.models.video_model_builder import X3D  # pyright: ignore[reportMissingImports]


class OnePathway(nn.Module):
    """Their models take a list of pathways."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, video: Tensor) -> Tensor:
        return self.model([video])


def build(frames: int, size: int, classes: int) -> nn.Module:
    """X3D-XS, S and M differ in their input alone."""
    config = get_cfg()
    config.merge_from_file(str(Path(folder) / "configs" / "Kinetics" / "X3D_XS.yaml"))
    config.NUM_GPUS, config.MODEL.NUM_CLASSES, config.DATA.NUM_FRAMES = 0, classes, frames
    config.DATA.TRAIN_CROP_SIZE = config.DATA.TEST_CROP_SIZE = size
    return OnePathway(X3D(config))
