"""Frozen weights held in the type that they are used in.

Mixed precision keeps weights in fp32 and rounds them for each product, which what trains needs. A frozen encoder never
changes: its weights can be rounded once and take half of the memory, and every product is the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_ROUNDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weights autocast rounds before it uses them. Norms, positions and tokens are used in fp32."""


def halve_frozen(model: nn.Module, dtype: torch.dtype) -> int:
    """Round the weights of a frozen encoder's linear and convolutional layers to ``dtype``, in place.

    For models that run under autocast of that type. The state dict still holds the fp32 weights, kept on the CPU.
    Returns the bytes saved where the model lies.
    """
    masters: dict[str, Tensor] = {}
    for prefix, layer in model.get_submodule("encoder").named_modules(prefix="encoder"):
        own = dict(layer.named_parameters(recurse=False))
        if type(layer) not in _ROUNDED or any(p.requires_grad for p in own.values()):
            continue
        for name, parameter in own.items():
            masters[f"{prefix}.{name}"] = parameter.detach().cpu().clone()
            parameter.data = parameter.data.to(dtype)
    if masters:
        model.register_state_dict_post_hook(_with(masters))
    return sum(master.numel() * (4 - dtype.itemsize) for master in masters.values())


def _with(masters: dict[str, Tensor]) -> Any:
    def fill(module: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
        for name, master in masters.items():
            if prefix + name in state:
                state[prefix + name] = master

    return fill
