"""Start positions of the spatial encoder."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import nn

from kinelite.models import create_model
from kinelite.models.encoder import start_with_sine_positions

ROWS, COLUMNS, WIDTH = 2, 3, 24


@pytest.fixture
def encoder() -> nn.Module:
    """2 rows of 3 patches; their counts differ, so that exchanged axes show."""
    torch.manual_seed(0)
    size = {"img_size": (16 * ROWS, 16 * COLUMNS), "embed_dim": WIDTH}
    return timm.create_model("vit_tiny_patch16_224", depth=1, num_heads=2, num_classes=0, **size)


def wave(row: int, column: int, channel: int) -> float:
    """Four quarters of the channels: sine and cosine of the row, sine and cosine of the column."""
    part, step = divmod(channel, WIDTH // 4)
    place = row if part < 2 else column
    return (math.sin, math.cos)[part % 2](place / 10_000 ** (step / (WIDTH // 4)))


def test_positions_are_sines_and_cosines_of_row_and_column(encoder: nn.Module) -> None:
    start_with_sine_positions(encoder)
    ours = encoder.pos_embed[0, 1:].unflatten(0, (ROWS, COLUMNS))
    expected = [[[wave(r, c, i) for i in range(WIDTH)] for c in range(COLUMNS)] for r in range(ROWS)]
    torch.testing.assert_close(ours.detach(), torch.tensor(expected), atol=1e-6, rtol=0)
    assert encoder.pos_embed.requires_grad, "they are where learning starts, not where it ends"


def test_rows_and_columns_are_those_of_the_patches(encoder: nn.Module) -> None:
    """Only the patch in row 1, column 2 of the picture is lit: its token has the position of that row and column."""
    start_with_sine_positions(encoder)
    picture = torch.zeros(1, 3, 16 * ROWS, 16 * COLUMNS)
    picture[:, :, 16:32, 32:48] = 1
    lit = encoder.patch_embed(picture) - encoder.patch_embed(torch.zeros_like(picture))
    token = lit[0].abs().sum(dim=1).nonzero().item()
    expected = torch.tensor([wave(1, 2, i) for i in range(WIDTH)])
    torch.testing.assert_close(encoder.pos_embed[0, 1 + int(token)].detach(), expected, atol=1e-6, rtol=0)


def test_the_class_tokens_position_and_all_else_stay(encoder: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    start_with_sine_positions(encoder)
    after = encoder.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["pos_embed"]
    assert torch.equal(after["pos_embed"][:, 0], before["pos_embed"][:, 0])


def test_a_width_that_four_does_not_divide_keeps_its_last_channels() -> None:
    encoder = timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=26, depth=1, num_heads=2, num_classes=0)
    before = encoder.pos_embed.detach().clone()
    start_with_sine_positions(encoder)
    assert torch.equal(encoder.pos_embed[0, 1:, 24:], before[0, 1:, 24:])
    assert torch.equal(encoder.pos_embed[0, 1, :24].detach(), torch.tensor(([0.0] * 6 + [1.0] * 6) * 2))


def test_the_small_model_starts_with_them() -> None:
    model = create_model("vivit_fe_nano", num_classes=3)
    before = model.encoder.pos_embed.detach().clone()
    start_with_sine_positions(model.encoder)
    assert torch.equal(model.encoder.pos_embed, before)
