"""Pooling of a volume as pooling of images and, after it, of frames: maxima and means can be taken side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinelite.export.steps import over_frames, steps, three, windows

Video = Float[Tensor, "b c t h w"]
Pooled = Float[Tensor, "b c t2 h2 w2"]
Size = int | Sequence[int]


def max_pool3d(
    video: Video, kernel_size: Size, stride: Size = (), padding: Size = 0, dilation: Size = 1, ceil_mode: bool = False
) -> Pooled:
    """`torch.nn.functional.max_pool3d`: the largest value within each frame, then over the frames of a window."""
    kernel, padding, dilation = three(kernel_size), three(padding), three(dilation)
    stride = three(stride) if stride != () and stride != [] else kernel
    flat = over_frames(
        video, lambda frames: F.max_pool2d(frames, kernel[1:], stride[1:], padding[1:], dilation[1:], ceil_mode)
    )
    if (kernel[0], stride[0], padding[0]) == (1, 1, 0):
        return flat
    seen = steps(flat, kernel[0], stride[0], padding[0], dilation[0], value=float("-inf"), up=ceil_mode)
    largest = seen[0]
    for other in seen[1:]:
        largest = torch.maximum(largest, other)
    return largest


def avg_pool3d(
    video: Video,
    kernel_size: Size,
    stride: Size = (),
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Pooled:
    """`torch.nn.functional.avg_pool3d`: means of each frame, then of the frames of a window.

    With a divisor of its own, sums take the place of means.
    """
    kernel, padding = three(kernel_size), three(padding)
    stride = three(stride) if stride != () and stride != [] else kernel
    inner = None if divisor_override is None else 1
    flat = over_frames(
        video,
        lambda frames: F.avg_pool2d(frames, kernel[1:], stride[1:], padding[1:], ceil_mode, count_include_pad, inner),
    )
    if (kernel[0], stride[0], padding[0]) == (1, 1, 0):
        return flat if divisor_override is None else flat / divisor_override
    seen = steps(flat, kernel[0], stride[0], padding[0], up=ceil_mode)
    total = seen[0]
    for other in seen[1:]:
        total = total + other
    if divisor_override is not None:
        return total / divisor_override
    sizes = _sizes(video.shape[2], kernel[0], stride[0], padding[0], ceil_mode, count_include_pad)
    if len(set(sizes)) == 1:
        return total / sizes[0]
    return total * (1 / torch.tensor(sizes, dtype=total.dtype, device=total.device))[:, None, None]


def _sizes(length: int, kernel: int, stride: int, padding: int, up: bool, with_padding: bool) -> list[int]:
    """Frames that each window is divided by; a window never reaches beyond the padding behind the end."""
    found = []
    for number in range(windows(length, kernel, stride, padding, up=up)):
        start = number * stride - padding
        end = min(start + kernel, length + padding)
        found.append(end - start if with_padding else min(end, length) - max(start, 0))
    return found


def adaptive_avg_pool3d(video: Video, output_size: Size) -> Pooled:
    """`torch.nn.functional.adaptive_avg_pool3d`: means of windows that share out each axis."""
    frames, *size = three(output_size)
    flat = over_frames(video, lambda x: F.adaptive_avg_pool2d(x, (size[0], size[1])))
    length = video.shape[2]
    if frames == length:
        return flat
    bounds = [(number * length // frames, -(-(number + 1) * length // frames)) for number in range(frames)]
    return torch.cat([flat[:, :, start:end].mean(dim=2, keepdim=True) for start, end in bounds], dim=2)
