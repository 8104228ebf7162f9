"""Operators over volumes, put together from those over images, against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kinelite.export.conv3d import conv3d
from kinelite.export.pool3d import adaptive_avg_pool3d, avg_pool3d, max_pool3d

CASES = settings(max_examples=60, deadline=None)
sizes = st.tuples(*[st.integers(1, 3)] * 3)
videos = st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 8), st.integers(1, 8))


def drawn(batch: int, channels: int, *size: int) -> torch.Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


@CASES
@given(videos, sizes, sizes, st.tuples(*[st.integers(0, 2)] * 3), sizes, st.sampled_from(["dense", "groups", "each"]))
def test_convolution_is_pytorchs(shape, kernel, stride, padding, dilation, kind):
    batch, *size = shape
    for side, k, p, d in zip(size, kernel, padding, dilation, strict=True):
        assume(side + 2 * p >= d * (k - 1) + 1)
    channels, groups = 4, {"dense": 1, "groups": 2, "each": 4}[kind]
    video = drawn(batch, channels, *size)
    weight, bias = drawn(8, channels // groups, *kernel), torch.arange(8.0)
    wanted = F.conv3d(video, weight, bias, stride, padding, dilation, groups)
    torch.testing.assert_close(conv3d(video, weight, bias, stride, padding, dilation, groups), wanted)


def test_convolution_takes_words_and_single_numbers():
    video, weight = drawn(1, 2, 5, 6, 7), drawn(3, 2, 3, 3, 3)
    for padding in ("same", "valid"):
        torch.testing.assert_close(conv3d(video, weight, padding=padding), F.conv3d(video, weight, padding=padding))
    torch.testing.assert_close(conv3d(video, weight, None, [2], 1), F.conv3d(video, weight, None, 2, 1))


@CASES
@given(videos, sizes, sizes, st.tuples(*[st.integers(0, 1)] * 3), st.tuples(*[st.integers(1, 2)] * 3), st.booleans())
def test_largest_value_is_pytorchs(shape, kernel, stride, padding, dilation, up):
    batch, *size = shape
    for side, k, p, d in zip(size, kernel, padding, dilation, strict=True):
        assume(p <= k // 2)
        assume(side + 2 * p >= d * (k - 1) + 1)
    video = drawn(batch, 3, *size)
    wanted = F.max_pool3d(video, kernel, stride, padding, dilation, up)
    torch.testing.assert_close(max_pool3d(video, kernel, stride, padding, dilation, up), wanted)


@CASES
@given(
    videos,
    sizes,
    sizes,
    st.tuples(*[st.integers(0, 1)] * 3),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 9)),
)
def test_mean_is_pytorchs(shape, kernel, stride, padding, up, with_padding, divisor):
    batch, *size = shape
    for side, k, p in zip(size, kernel, padding, strict=True):
        assume(p <= k // 2)
        assume(side >= k)  # a limit of PyTorch's own
    video = drawn(batch, 3, *size)
    wanted = F.avg_pool3d(video, kernel, stride, padding, up, with_padding, divisor)
    torch.testing.assert_close(avg_pool3d(video, kernel, stride, padding, up, with_padding, divisor), wanted)


@CASES
@given(videos, sizes)
def test_shared_out_mean_is_pytorchs(shape, wanted):
    batch, *size = shape
    video = drawn(batch, 3, *size)
    torch.testing.assert_close(adaptive_avg_pool3d(video, wanted), F.adaptive_avg_pool3d(video, wanted))


@pytest.mark.parametrize("pool", [F.max_pool3d, F.avg_pool3d])
def test_pooling_without_a_stride_strides_by_its_kernel(pool):
    own = {"max_pool3d": max_pool3d, "avg_pool3d": avg_pool3d}[pool.__name__]
    video = drawn(1, 2, 4, 6, 6)
    torch.testing.assert_close(own(video, 2), pool(video, 2))
