"""Any timm image CNN over the frames of a video: built without its classifier."""

from __future__ import annotations

import copy
from typing import Any

import timm
import torch
from torch import nn

from kinelite.errors import UsageError
from kinelite.models.encoder import encoder_config


def build_cnn(name: str) -> Any:
    """timm's CNN without classifier: frames ``[n, 3, h, w]`` to pooled features ``[n, d]``.

    Most take any height and width; `check_size` tells.

    Weights are random and stored channels last, which spares the convolutions a reordering on a CPU.

    Raises:
        UsageError: not a timm model, or one that is built for a fixed size, as vision transformers are.
    """
    if encoder_config(name).fixed_input_size:
        raise UsageError(
            f"'{name}' is made for one image size, so it cannot encode frames of any size. Use a CNN such as "
            f"resnet18.tv_in1k or efficientnet_b0.ra_in1k, or a transformer with vivit_fe:{name}."
        )
    return timm.create_model(name, num_classes=0).to(memory_format=torch.channels_last)


def check_size(cnn: nn.Module, name: str, size: int) -> None:
    """Raises UsageError for a size that a CNN cannot take, such as one whose halves do not fit each other again.

    Found by running its shapes alone, without numbers.
    """
    shapes = copy.deepcopy(cnn).to("meta").eval()
    for tried in (size, max(32, round(size / 32) * 32), 224):
        try:
            with torch.no_grad():
                shapes(torch.empty(1, 3, tried, tried, device="meta"))
        except (RuntimeError, AssertionError, ValueError):
            continue
        if tried == size:
            return
        raise UsageError(f"'{name}' cannot take frames of {size} x {size} pixels. Nearest that is known: {tried}.")
    raise UsageError(f"'{name}' cannot take frames of {size} x {size} pixels. Use a CNN such as resnet18.tv_in1k.")
