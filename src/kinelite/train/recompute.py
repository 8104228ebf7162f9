"""Less memory in training for one more forward pass: transformer blocks that keep their input and nothing else.

"Training Deep Nets with Sublinear Memory Cost", 1604.06174. What a block computes inside is computed again when its
gradient is due, with the same random numbers, so the gradient is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinelite.errors import UsageError


def recompute(model: nn.Module, name: str) -> list[str]:
    """Let the transformer blocks of ``model`` forget what they compute wherever a gradient will need it again.

    Returns the names of the blocks. Where nothing takes a gradient, as in a frozen encoder, they run as before.
    Raises UsageError, naming the model as ``name``, when there is no such block.
    """
    blocks = transformer_blocks(model)
    if not blocks:
        raise UsageError(
            f"--memory.recompute covers transformer blocks, and '{name}' has none. What saves memory there: "
            "--micro-batch 1, --size, --frames, or a stage with a frozen encoder."
        )
    for block in blocks.values():
        block.forward = _forgetful(block, block.forward)
    return list(blocks)


def transformer_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> module of everything that is a transformer block."""
    return {path: module for path, module in model.named_modules() if _is_block(module)}


def _is_block(module: nn.Module) -> bool:
    """Attention and MLP in one: the blocks of timm, torchvision and this package agree on these two names."""
    return isinstance(getattr(module, "attn", None), nn.Module) and isinstance(getattr(module, "mlp", None), nn.Module)


def _forgetful(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **more: Any) -> Any:
        if torch.is_grad_enabled() and _takes_gradient(block, args):
            return checkpoint(forward, *args, use_reentrant=False, **more)
        return forward(*args, **more)

    return run


def _takes_gradient(block: nn.Module, args: tuple[Any, ...]) -> bool:
    if any(isinstance(value, Tensor) and value.requires_grad for value in args):
        return True
    return any(parameter.requires_grad for parameter in block.parameters())
