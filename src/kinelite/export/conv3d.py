"""A convolution over a volume as convolutions over images, for runtimes that have no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinelite.export.steps import over_frames, steps, three

Video = Float[Tensor, "b c t h w"]
Convolved = Float[Tensor, "b d t2 h2 w2"]


def conv3d(
    video: Video,
    weight: Float[Tensor, "d i kt kh kw"],
    bias: Float[Tensor, " d"] | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Convolved:
    """`torch.nn.functional.conv3d` without a 3-D operator.

    A kernel within a frame is a convolution of the frames; one along time alone is a convolution over time and pixels,
    which form one row. Any other is cut into its steps in time: where each channel is convolved alone the steps'
    results are added; else the frames of all steps lie behind each other in the channels of one convolution, which
    has as many multiplications and no sums to store.
    """
    stride, dilation = three(stride), three(dilation)
    kernel = three(weight.shape[2:])
    padding = _padding(padding, kernel, dilation)
    space: dict[str, Any] = {
        "stride": stride[1:],
        "padding": padding[1:],
        "dilation": dilation[1:],
        "groups": groups,
    }
    if kernel[0] == 1 and stride[0] == 1 and padding[0] == 0:
        return over_frames(video, lambda frames: F.conv2d(frames, weight[:, :, 0], bias, **space))
    if kernel[1:] == stride[1:] == (1, 1) and padding[1:] == (0, 0):
        return _along_time(video, weight, bias, stride[0], padding[0], dilation[0], groups)
    seen = steps(video, kernel[0], stride[0], padding[0], dilation[0])
    if groups == video.shape[1] > 1:
        return _summed(seen, weight, bias, space)
    if groups == 1:
        stacked, kernel2d = torch.cat(seen, dim=1), weight.transpose(1, 2).flatten(1, 2)
    else:
        stacked, kernel2d = torch.stack(seen, dim=2).flatten(1, 2), weight.flatten(1, 2)
    return over_frames(stacked, lambda frames: F.conv2d(frames, kernel2d, bias, **space))


def _along_time(
    video: Video, weight: Tensor, bias: Tensor | None, stride: int, padding: int, dilation: int, groups: int
) -> Convolved:
    rows = video.flatten(3)
    mixed = F.conv2d(rows, weight[..., 0], bias, (stride, 1), (padding, 0), (dilation, 1), groups)
    return mixed.unflatten(3, video.shape[3:])


def _summed(seen: list[Tensor], weight: Tensor, bias: Tensor | None, space: dict[str, Any]) -> Convolved:
    total: Tensor | None = None
    for step, frames in enumerate(seen):
        plane, added = weight[:, :, step], bias if step == 0 else None
        made = over_frames(frames, lambda x, plane=plane, added=added: F.conv2d(x, plane, added, **space))
        total = made if total is None else total + made
    assert total is not None
    return total


def _padding(
    given: int | Sequence[int] | str, kernel: tuple[int, int, int], dilation: tuple[int, int, int]
) -> tuple[int, int, int]:
    if not isinstance(given, str):
        return three(given)
    if given == "valid":
        return 0, 0, 0
    spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    # An even kernel needs one zero more at the end; no model here has one.
    assert given == "same"
    assert not any(span % 2 for span in spans), f"padding 'same' of an even kernel {kernel}"
    return three([span // 2 for span in spans])
