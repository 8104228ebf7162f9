"""The authors' TimeSformer: a checkout of facebookresearch/TimeSformer whose folder is in KINELITE_PEER_TIMESFORMER."""

from __future__ import annotations

import collections.abc
import importlib
import os
import sys
import types
from functools import partial
from pathlib import Path

from torch import nn


def build(frames: int, size: int, classes: int) -> nn.Module:
    """Divided attention. Its ``vit.py`` is imported alone: the package needs data sets and modules of old PyTorch."""
    folder = os.environ.get("KINELITE_PEER_TIMESFORMER", "")
    if not (Path(folder) / "timesformer/models/vit.py").is_file():
        raise SystemExit("Set KINELITE_PEER_TIMESFORMER to a checkout of github.com/facebookresearch/TimeSformer")
    for name in ("timesformer", "timesformer.models"):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(folder, *name.split(".")))]
        sys.modules[name] = package
    sys.modules["torch._six"] = types.SimpleNamespace(container_abcs=collections.abc)  # type: ignore[assignment]
    vit = importlib.import_module("timesformer.models.vit")
    return vit.VisionTransformer(
        img_size=size,
        num_classes=classes,
        embed_dim=768,
        depth=12,
        num_heads=12,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        drop_path_rate=0.1,
        num_frames=frames,
    )
