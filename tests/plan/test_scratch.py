"""What single kernels allocate besides, against the profiler."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from kinelite.plan.profiled import memory_line
from kinelite.plan.scratch import cpu_scratch


@pytest.mark.parametrize(
    ("channels", "width", "kernel", "size", "stride", "groups"),
    [
        (12, 96, (16, 16), 64, 16, 1),
        (16, 64, (14, 14), 56, 14, 1),
        (64, 64, (5, 5), 28, 1, 64),
        (64, 64, (3, 3), 28, 1, 64),
        (64, 64, (3, 3), 56, 1, 1),
    ],
    ids=["patches of 16", "patches of 14", "depthwise 5", "depthwise 3", "plain"],
)
def test_gradient_of_a_convolution(
    channels: int, width: int, kernel: tuple[int, int], size: int, stride: int, groups: int
) -> None:
    form = torch.channels_last if kernel[0] < 14 else torch.contiguous_format
    image = torch.randn(4, channels, size, size).to(memory_format=form)
    weight = torch.randn(width, channels // groups, *kernel).to(memory_format=form)
    options: list[Any] = [[stride] * 2, [kernel[0] // 2 if stride == 1 else 0] * 2, [1, 1], False, [0, 0], groups]
    made = torch.ops.aten.convolution(image, weight, None, *options)
    args = (torch.randn_like(made), image, weight, None, *options, [False, True, False])
    call = torch.ops.aten.convolution_backward
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            result = call(*args)
    taken = max(level for level, _ in memory_line(recorded)) - result[1].nbytes
    planned = cpu_scratch(call.default, args, result)
    assert abs(planned - taken) <= 0.05 * taken + 2 * weight.nbytes
