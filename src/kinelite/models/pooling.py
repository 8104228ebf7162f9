"""What a vision transformer says of a tubelet: its class token, the mean of its patches, both, or its own pooling."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kinelite.errors import UsageError

Pool = Literal["token", "mean", "both"]


def set_pool(encoder: Any, name: str, pool: Pool | None) -> None:
    """Make a timm encoder ready to be pooled by `pooled`: an attention pooling of its own is taken out.

    Raises UsageError, in the name ``name`` of the encoder, where it has no tokens to tell apart or no class token.
    """
    if pool is None:
        return
    if not isinstance(getattr(encoder, "num_prefix_tokens", None), int):
        raise UsageError(f"'{name}' does not keep its class token and patches side by side, so net.pool cannot choose.")
    if pool != "mean" and getattr(encoder, "cls_token", None) is None:
        raise UsageError(
            f"'{name}' has no class token for net.pool {pool}. It takes mean; without net.pool it pools as it was made."
        )
    if getattr(encoder, "attn_pool", None) is not None:
        encoder.attn_pool = None


def pooled(encoder: Any, tokens: Float[Tensor, "b *n d"], pool: Pool | None) -> Float[Tensor, "b m"]:
    """One vector ``[b, d]`` per image from what ``encoder.forward_features`` gave, ``[b, 2 d]`` for both.

    The norm after pooling, which encoders made for a mean have in place of the one before, is applied to each vector.
    """
    if pool is None:
        return encoder.forward_head(tokens, pre_logits=True)
    vectors = []
    if pool != "mean":
        vectors.append(tokens[:, 0])
    if pool != "token":
        vectors.append(tokens[:, encoder.num_prefix_tokens :].mean(dim=1))
    norm = getattr(encoder, "fc_norm", None)
    return torch.cat([norm(vector) if norm else vector for vector in vectors], dim=1)
