"""Interpolation of temporal positions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinelite.models import resize_temporal_positions
from kinelite.models.temporal import POSITION_STD, TemporalTransformer


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


def test_start_of_training_is_that_of_scenic_but_for_larger_positions() -> None:
    torch.manual_seed(0)
    transformer = TemporalTransformer(256, heads=4, layers=1, tubelets=16)
    qkv = transformer.blocks[0].attn.qkv.weight
    assert not transformer.cls.any()
    assert transformer.positions.std().item() == pytest.approx(POSITION_STD, rel=0.1)
    assert not transformer.blocks[0].attn.qkv.bias.any()
    # Xavier bound of each 256 x 256 projection; over the fused 768 x 256 matrix it would be smaller.
    assert qkv.abs().max().item() == pytest.approx((6 / 512) ** 0.5, rel=0.01)


def test_mlp_width_is_exact() -> None:
    with torch.device("meta"):
        transformer = TemporalTransformer(1408, heads=16, layers=1, tubelets=2, mlp_width=6144)
    assert transformer.blocks[0].mlp.fc1.out_features == 6144
