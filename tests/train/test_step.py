from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kinelite.config import OptimConfig
from kinelite.models import create_model
from kinelite.train.mix import Mix, Piece, draw_mix, micro_batches
from kinelite.train.step import mixed_features, mixed_video, normalise, piece_loss
from kinelite.types import InputSpec

SPEC = InputSpec(4, 64, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))


def clips(count: int, tasks: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (count, 3, 4, 64, 64), generator=rng, dtype=torch.uint8)
    return frames, torch.randint(0, 3, (count, tasks), generator=rng)


def gradient(size: int, optim: OptimConfig, smoothing: float) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = create_model("vivit_fe_nano", num_classes=3, frames=4).double()
    frames, labels = clips(5)
    mix = draw_mix(optim, tuple(frames.shape[i] for i in (0, 2, 3, 4)), np.random.default_rng(1))
    for piece in micro_batches(frames, labels, size, mix):
        video = mixed_video(piece, SPEC, torch.device("cpu")).double()
        logits = model(video)
        # In double precision the loss must not be cut back to single, so the formula is called on a double input.
        (piece_loss(logits, piece, smoothing) / 5).backward()
    return {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("optim", "smoothing"),
    [(OptimConfig(), 0.0), (OptimConfig(mixup=0.4), 0.1), (OptimConfig(cutmix=1.0, videomix="spatiotemporal"), 0.1)],
    ids=["plain", "mixup", "cuboid"],
)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_accumulated_gradient_equals_that_of_the_whole_batch(size: int, optim: OptimConfig, smoothing: float) -> None:
    """5 clips in pieces of 1, 2 and 3: unequal pieces show a mean of means, which would be wrong."""
    whole, pieces = gradient(5, optim, smoothing), gradient(size, optim, smoothing)
    for name, expected in whole.items():
        torch.testing.assert_close(pieces[name], expected, rtol=1e-4, atol=1e-8, msg=name)


def test_loss_is_cross_entropy_of_the_mixture() -> None:
    logits = torch.randn(4, 3)
    labels, other = torch.tensor([0, 1, 2, 0])[:, None], torch.tensor([2, 2, 1, 1])[:, None]
    frames = torch.zeros(4, 3, 1, 2, 2, dtype=torch.uint8)
    loss = piece_loss(logits, Piece(frames, labels, frames, other, 0.3), 0.2)
    soft = 0.3 * F.one_hot(labels[:, 0], 3) + 0.7 * F.one_hot(other[:, 0], 3)
    target = soft * 0.8 + 0.2 / 3
    torch.testing.assert_close(loss, -(target * logits.log_softmax(-1)).sum())


def test_loss_of_several_tasks_is_their_mean() -> None:
    a, b = torch.randn(2, 3), torch.randn(2, 4)
    labels = torch.tensor([[0, 3], [2, 1]])
    frames = torch.zeros(2, 3, 1, 2, 2, dtype=torch.uint8)
    loss = piece_loss({"verb": a, "noun": b}, Piece(frames, labels, None, labels, 1.0), 0.0)
    expected = (F.cross_entropy(a, labels[:, 0]) + F.cross_entropy(b, labels[:, 1])) * 2 / 2
    torch.testing.assert_close(loss, expected)


def test_normalise_is_pixels_over_255_less_mean_over_deviation() -> None:
    frames = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1, 1)
    expected = torch.tensor([(0 - 0.5) / 0.5, (1 - 0.4) / 0.25, (0.2 - 0.3) / 0.2])
    torch.testing.assert_close(normalise(frames, SPEC, torch.device("cpu")).flatten(), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_stored_features_are_blended_as_videos_are_and_left_alone(dtype: torch.dtype) -> None:
    features, labels = torch.randn(5, 3, 4).to(dtype), torch.arange(5)[:, None]
    before = features.clone()
    mix = Mix(0.3, torch.tensor([4, 0, 1, 2, 3]))
    pieces = list(micro_batches(features, labels, 2, mix))
    found = torch.cat([mixed_features(piece, torch.device("cpu")) for piece in pieces])
    torch.testing.assert_close(found, 0.3 * before.float() + 0.7 * before.float()[mix.partner])
    assert [piece.other_labels[:, 0].tolist() for piece in pieces] == [[4, 0], [1, 2], [3]]
    assert torch.equal(features, before)
    (plain,) = micro_batches(features, labels, 5, None)
    assert torch.equal(mixed_features(plain, torch.device("cpu")), before.float())
