"""What the CPU's kernels allocate beside their results, as PyTorch's profiler shows it (docs/plan-accuracy.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten
_FORMATS = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)
NATIVE = 20480
"""Channels x frames x rows of one clip up to which PyTorch's own kernel is taken instead of oneDNN's."""
WIDEST_DEPTHWISE = 3
"""Widest depthwise kernels whose gradient oneDNN (of torch 2.15) computes without blocks of channels."""
ONE_THREAD = 256
"""Pixels of a frame for each thread from which oneDNN computes the gradient of a spread clip in one thread."""


@dataclass(frozen=True)
class Vectors:
    """What oneDNN's choice of kernels has to do with the processor's vectors.

    Args:
        block: floats of a vector, the channels of a block in oneDNN's orders of weights.
        widest: widest kernels whose gradient has code of its own.
        pads_time: whether that code takes clips padded in time.
        blocks_images: whether images whose channels come first are put into blocks (not looked at with AVX-512).
    """

    block: int
    widest: int
    pads_time: bool
    blocks_images: bool


AVX512 = Vectors(16, 14, pads_time=True, blocks_images=False)
AVX2 = Vectors(8, 13, pads_time=False, blocks_images=True)
"""jit_avx512_common_conv_kernel.cpp and jit_avx2_conv_kernel_f32.cpp of oneDNN, init_conf of the weights' gradient."""


def vectors() -> Vectors:
    """This processor's, as PyTorch names its own kernels; what has no AVX-512 is taken for AVX2."""
    return AVX512 if "AVX512" in torch.backends.cpu.get_cpu_capability() else AVX2


def cpu_scratch(func: Any, args: tuple[Any, ...], result: Any) -> int:
    """Bytes that the kernel of an operation takes while it runs, beside its results.

    oneDNN puts the weights of a convolution into an order of its own: one copy forward, two for their gradient. An
    input in none of PyTorch's orders is copied first; without AVX-512 so are images whose channels come first.
    """
    op = func._overloadpacket
    if op is _aten.convolution:
        video, weight = args[:2]
        if _spreads(video, weight, groups=args[8]):
            return _columns(weight, result) + _bytes(weight) + _bytes(video)
        by = vectors()
        if _blocked(video, weight, groups=args[8], by=by):
            filled = by.block * math.ceil(video.shape[1] / by.block)
            return filled * (_bytes(weight) + _bytes(video)) // video.shape[1]
        return _bytes(weight) + (0 if _dense(video) else _bytes(video))
    if op is _aten.convolution_backward:
        return _gradient_scratch(*args[:3], padding=args[5], groups=args[9], by=vectors())
    return 0


def _gradient_scratch(
    gradient: Tensor, video: Tensor, weight: Tensor, padding: list[int], groups: int, by: Vectors
) -> int:
    """Of the gradient of a convolution.

    What oneDNN has no code of its own for, as patches of 16 pixels, becomes a product of matrices. A wide depthwise
    kernel takes a way in which each channel fills a block of channels x channels.
    """
    if _spreads(video, weight, groups):
        return _columns(weight, gradient) + _bytes(gradient)
    padded = weight.ndim == 5 and padding[0] > 0 and not by.pads_time
    if groups == 1 and (weight.shape[-1] > by.widest or padded):
        return _product_scratch(gradient, video, weight)
    if _blocked(video, weight, groups, by):
        return _bytes(video) + _bytes(gradient)
    if weight.ndim == 4 and weight.shape[-1] > WIDEST_DEPTHWISE and groups == len(weight) > 1:
        return (by.block**2 + 1) * _bytes(weight)
    return 2 * _bytes(weight)


def _product_scratch(gradient: Tensor, video: Tensor, weight: Tensor) -> int:
    """Of a gradient as a product of matrices: threads spread a frame each, or one does if there is one clip or frames
    are large. Each has room for four times the weights (oneDNN, gemm_convolution_utils.cpp: it books bytes as floats)
    and, where channels come last, for a clip in the other order."""
    threads = torch.get_num_threads()
    several = len(video) > 1 and math.prod(gradient.shape[-2:]) // threads < ONE_THREAD
    turned = 0 if video.is_contiguous() else _bytes(video[0])
    frame = _columns(weight, gradient[..., :1, :, :] if gradient.ndim == 5 else gradient)
    return (threads if several else 1) * (frame + 4 * _bytes(weight) + turned)


def _spreads(video: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether PyTorch leaves a convolution over time and space to its own kernel, which spreads the clip into columns:
    a single small clip (use_mkldnn in ATen/native/Convolution.cpp)."""
    kernel = weight.shape[2:]
    small = len(video) == 1 and math.prod(video.shape[1:4]) <= NATIVE and min(kernel[-2:]) <= 3
    return weight.ndim == 5 and groups == 1 and math.prod(kernel) > 1 and small


def _blocked(video: Tensor, weight: Tensor, groups: int, by: Vectors) -> bool:
    """Whether images whose channels come first are put into blocks of channels, of which the last is filled up."""
    first = video.is_contiguous() and weight.is_contiguous() and not video.is_contiguous(memory_format=_FORMATS[1])
    enough = groups == 1 and video.shape[1] >= by.block
    alone = torch.get_num_threads() == 1 and math.prod(weight.shape[2:]) == 1
    return by.blocks_images and weight.ndim == 4 and first and enough and not alone


def _columns(weight: Tensor, made: Tensor) -> int:
    """Bytes of one clip or image spread so that a convolution is a matrix product."""
    return math.prod(weight.shape[1:]) * math.prod(made.shape[2:]) * weight.element_size()


def _dense(tensor: Tensor) -> bool:
    fitting = _FORMATS[:1] if tensor.ndim < 4 else (_FORMATS[0], _FORMATS[tensor.ndim - 3])
    return any(tensor.is_contiguous(memory_format=form) for form in fitting)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
