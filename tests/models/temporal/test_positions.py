"""Interpolation of temporal positions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinelite.models import resize_temporal_positions


def ramp(tubelets: int) -> torch.Tensor:
    """Positions [1, 1 + tubelets, 3]: a class token of 7, then a straight line from 0 to 1 in every channel."""
    line = torch.linspace(0, 1, tubelets)[:, None] * torch.tensor([1.0, -2.0, 3.0])
    return torch.cat([torch.full((1, 3), 7.0), line])[None]


@settings(deadline=None, max_examples=40)
@given(old=st.integers(2, 40), new=st.integers(2, 130))
def test_a_ramp_stays_a_ramp_and_the_class_token_is_kept(old: int, new: int) -> None:
    resized = resize_temporal_positions(ramp(old), new)
    torch.testing.assert_close(resized, ramp(new), atol=1e-5, rtol=1e-5)


def test_four_tubelets_become_sixty_four() -> None:
    assert resize_temporal_positions(torch.randn(1, 5, 8), 64).shape == (1, 65, 8)


def test_equal_length_is_the_identity() -> None:
    positions = torch.randn(1, 9, 4)
    assert torch.equal(resize_temporal_positions(positions, 8), positions)


@pytest.mark.parametrize("new", [1, 6])
def test_a_single_tubelet_can_be_stretched(new: int) -> None:
    positions = torch.randn(1, 2, 4)
    assert torch.equal(resize_temporal_positions(positions, new)[0, 1:], positions[0, 1:].expand(new, -1))


def test_positions_without_a_class_token_keep_none() -> None:
    resized = resize_temporal_positions(ramp(9)[:, 1:], 17, others=0)
    torch.testing.assert_close(resized, ramp(17)[:, 1:], atol=1e-6, rtol=1e-6)
