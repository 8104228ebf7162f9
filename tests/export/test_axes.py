"""Views and permutations as algebra, against PyTorch doing them one after the other."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinelite.export.axes import Axes, gathered, swaps

SHAPES = st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5)


SEEDS = st.lists(st.integers(0, 2**16), max_size=4)
FACTORS = {4: [(4,), (2, 2), (1, 4)], 6: [(6,), (2, 3), (3, 2)]}


def rearranged(shape, seeds):
    """A tensor of a shape after a few views and permutations, and the axes of it."""
    tensor, axes = torch.arange(math.prod(shape)).view(shape), Axes.of(shape)
    for chance in map(random.Random, seeds):
        if chance.random() < 0.5:
            order = chance.sample(range(tensor.ndim), tensor.ndim)
            tensor, axes = tensor.permute(order), axes.permuted(order)
            continue
        sizes = [factor for size in tensor.shape for factor in chance.choice(FACTORS.get(size, [(size,)]))]
        joined = chance.randint(1, len(sizes))
        sizes = [math.prod(sizes[:joined]), *sizes[joined:]]
        viewed = axes.viewed(sizes)
        assert viewed is not None, (axes, sizes)
        tensor, axes = tensor.reshape(sizes), viewed
    return tensor, axes


@settings(deadline=None)
@given(SHAPES, SEEDS)
def test_one_view_one_permutation_and_one_view_do_what_all_did(shape, seeds):
    tensor, axes = rearranged(shape, seeds)
    assert axes.shape == tuple(tensor.shape)
    source = torch.arange(math.prod(shape))
    sizes, order = axes.moves_needed()
    torch.testing.assert_close(source.view(sizes).permute(order).reshape(axes.shape), tensor.contiguous())
    assert axes.moves == (order != tuple(range(len(order))))


@settings(deadline=None)
@given(SHAPES, SEEDS)
def test_axes_apart_say_the_same_of_the_source(shape, seeds):
    tensor, axes = rearranged(shape, seeds)
    for own in ((), shape):
        sizes, dims = axes.split(own)
        assert math.prod(sizes) == tensor.numel()
        assert gathered(sizes, dims) == axes


def test_a_view_that_cuts_an_axis_askew_is_none():
    assert Axes.of((2, 3)).permuted((1, 0)).viewed((2, 3)) is None
    assert Axes.of((2, 3)).viewed((3, 2)) == Axes.of((3, 2))


@settings(deadline=None)
@given(st.permutations(range(6)))
def test_exchanges_of_neighbours_are_the_permutation(order):
    sizes = (2, 3, 2, 2, 3, 2)
    tensor = torch.arange(math.prod(sizes)).view(sizes)
    wanted, shape = tensor.permute(order), list(range(6))
    for counts, after in swaps(order):
        starts = [sum(counts[:i]) for i in range(5)]
        blocks = [math.prod(sizes[a] for a in shape[s:e]) for s, e in pairwise(starts)]
        tensor, shape = tensor.reshape(blocks).permute(0, 2, 1, 3), list(after)
    torch.testing.assert_close(tensor.reshape(wanted.shape), wanted.contiguous())
