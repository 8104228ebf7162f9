"""Memory that has run out: how PyTorch says it, and how to get back what a broken step left."""

from __future__ import annotations

import gc

import torch

_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
"""Of the CPU's allocator on Linux and Windows, of MPS, of cuBLAS and cuDNN."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


def give_back() -> None:
    """Return what nobody holds any more. Call it when the error is gone: its traceback holds tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
