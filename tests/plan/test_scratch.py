"""What single kernels allocate besides, against the profiler."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from kinelite.plan.profiled import memory_line
from kinelite.plan.scratch import AVX2, cpu_scratch, vectors


def taken(call: Any, args: tuple[Any, ...]) -> tuple[int, Any]:
    """Bytes that a call had allocated at most beside its results, and these."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            result = call(*args)
    kept = result if isinstance(result, torch.Tensor) else result[1]
    return max(level for level, _ in memory_line(recorded)) - kept.nbytes, result


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
    scratch, result = taken(call, args)
    assert abs(cpu_scratch(call.default, args, result) - scratch) <= 0.05 * scratch + 2 * weight.nbytes


@pytest.mark.parametrize(("clips", "frames", "size"), [(1, 4, 14), (2, 4, 14), (1, 16, 28)], ids=str)
def test_a_convolution_over_time_and_space(clips: int, frames: int, size: int) -> None:
    form = torch.channels_last_3d
    video = torch.randn(clips, 64, frames, size, size).to(memory_format=form)
    weight = torch.randn(64, 64, 3, 3, 3).to(memory_format=form)
    options: list[Any] = [[1] * 3, [1] * 3, [1] * 3, False, [0] * 3, 1]
    made = torch.ops.aten.convolution(video, weight, None, *options)
    backward = (torch.randn_like(made), video, weight, None, *options, [False, True, False])
    aten = torch.ops.aten
    for call, args in ((aten.convolution, (video, weight, None, *options)), (aten.convolution_backward, backward)):
        scratch, result = taken(call, args)
        # With AVX2 threads have buffers as large as a few rows of the clip, which are not counted.
        rows = weight.nbytes // 4 if vectors() is AVX2 else 0
        assert cpu_scratch(call.default, args, result) == pytest.approx(scratch, rel=0.05, abs=rows)


@pytest.mark.parametrize(("channels", "patch"), [(12, 16), (16, 8), (3, 16)], ids=str)
def test_images_whose_channels_come_first(channels: int, patch: int) -> None:
    """Without AVX-512 oneDNN copies them, once it has a block of channels."""
    if vectors() is not AVX2:
        pytest.skip("a rule for processors without AVX-512, and this one has it")
    image, weight = torch.randn(4, channels, 64, 64), torch.randn(96, channels, patch, patch)
    options: list[Any] = [[patch] * 2, [0, 0], [1, 1], False, [0, 0], 1]
    aten = torch.ops.aten
    forward = (image, weight, None, *options)
    gradient = torch.randn_like(aten.convolution(*forward))
    backward = (gradient, *forward, [False, True, False])
    for call, args in ((aten.convolution, forward), (aten.convolution_backward, backward)):
        scratch, result = taken(call, args)
        assert abs(cpu_scratch(call.default, args, result) - scratch) <= 0.05 * scratch + 2 * gradient.nbytes


def test_the_processor_decides_on_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same gradient takes more where oneDNN has no kernel that pads a clip in time."""
    video, weight = torch.empty(2, 64, 4, 14, 14, device="meta"), torch.empty(64, 64, 3, 3, 3, device="meta")
    args = (video, video, weight, None, [1] * 3, [1] * 3, [1] * 3, False, [0] * 3, 1, [False, True, False])
    call = torch.ops.aten.convolution_backward.default
    taken_bytes = {}
    for capability in ("AVX2", "AVX512"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda name=capability: name)
        taken_bytes[capability] = cpu_scratch(call, args, (None, weight, None))
    assert taken_bytes["AVX512"] == 2 * weight.nbytes
    one_thread = 4 * weight.nbytes + 64 * 27 * 14 * 14 * 4
    assert taken_bytes["AVX2"] == torch.get_num_threads() * one_thread
