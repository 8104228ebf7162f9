"""Memory of a frozen encoder's stage does not follow the clip: 16 frames or 512, within 10 per cent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peak import peak_bytes

from kinelite.models import create_model
from kinelite.train.chunks import clip_logits, model_input
from kinelite.train.mix import Piece
from kinelite.train.recompute import recompute
from kinelite.train.stage import freeze, train_mode
from kinelite.train.step import piece_loss

CPU = torch.device("cpu")


def part(name: str, frames: int, size: int) -> tuple[Any, torch.optim.Optimizer, int]:
    """Model and optimiser of a stage 2, and the bytes that both hold from the first step on."""
    torch.manual_seed(0)
    model: Any = create_model(name, num_classes=10, frames=frames, size=size)
    model.add_adapter()
    freeze(model, ["encoder.*"])
    train_mode(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    held = sum(p.nbytes for p in model.parameters()) + 2 * sum(p.nbytes for p in trained)
    return model, torch.optim.AdamW(trained), held


def step_bytes(name: str, frames: int, size: int, *, stored: bool = False, chunk: int = 0) -> int:
    """Peak of one step over one clip, after a first one; the decoded clip is there before."""
    model, optimizer, held = part(name, frames, size)
    if stored:
        recompute(model, name)
    labels = torch.zeros(1, 1, dtype=torch.int64)
    clip = torch.randint(0, 256, (1, 3, frames, 2 if stored else size, 2 if stored else size), dtype=torch.uint8)
    piece = Piece(clip, labels, None, labels, 1.0)
    features = torch.randn(1, frames // model.tubelet, model.width)

    def step() -> None:
        given = features if stored else model_input(model, piece, model.spec, CPU, chunk)
        piece_loss(model(given), piece, 0.0).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    return held + peak_bytes(step)


def test_online_stage_2_is_flat() -> None:
    short, long = step_bytes("vivit_fe_nano", 16, 64), step_bytes("vivit_fe_nano", 512, 64)
    assert long < 1.1 * short
    # What the test is about: without chunks the same clip takes several times as much.
    assert step_bytes("vivit_fe_nano", 512, 64, chunk=512) > 3 * short


def test_stage_2_on_features_is_flat() -> None:
    short = step_bytes("vivit_fe_ti", 16, 32, stored=True)
    assert step_bytes("vivit_fe_ti", 512, 32, stored=True) < 1.1 * short


@pytest.mark.parametrize("views", [1, 6])
def test_evaluation_is_flat_in_frames_and_views(views: int) -> None:
    peaks = []
    for frames in (16, 256):
        model, _, held = part("vivit_fe_nano", frames, 64)
        model.eval()
        clips = torch.randint(0, 256, (views, 3, frames, 64, 64), dtype=torch.uint8)
        with torch.no_grad():
            peaks.append(held + peak_bytes(lambda m=model, c=clips: clip_logits(m, c, m.spec, CPU)))
    assert peaks[1] < 1.1 * peaks[0]
