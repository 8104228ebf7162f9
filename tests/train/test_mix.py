"""Mixup and cuboids of another clip: what is shown, what the labels count, and how the draws are distributed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torchvision.transforms import v2

from kinelite.config import OptimConfig, TrainConfig
from kinelite.errors import UsageError
from kinelite.limits import check_config
from kinelite.train.mix import Mix, Piece, draw_cuboid, draw_mix, micro_batches, volume
from kinelite.train.step import mixed_video, piece_loss
from kinelite.types import InputSpec

CPU = torch.device("cpu")
SPEC = InputSpec(6, 8, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
AXES = {"spatial": (1, 2), "temporal": (0,), "spatiotemporal": (0, 1, 2)}


def clips(count: int = 4) -> torch.Tensor:
    """Clip i has level i + 1 everywhere, so that every pixel says whose it is."""
    levels = torch.arange(1, count + 1, dtype=torch.uint8)
    return levels.view(-1, 1, 1, 1, 1).expand(count, 3, 6, 8, 8).contiguous()


def owners(video: torch.Tensor) -> torch.Tensor:
    """From a normalised video back to the level of its first channel."""
    return ((video[:, 0] * SPEC.std[0] + SPEC.mean[0]) * 255).round()


def mixes(count: int, **optim: object) -> list[Mix]:
    rng = np.random.default_rng(7)
    drawn = [draw_mix(OptimConfig(**optim), (4, 16, 112, 112), rng) for _ in range(count)]
    return [mix for mix in drawn if mix is not None]


def test_nothing_is_mixed_unless_asked_for_or_with_a_single_clip() -> None:
    assert draw_mix(OptimConfig(), (4, 6, 8, 8), np.random.default_rng(0)) is None
    for optim in (OptimConfig(mixup=0.5), OptimConfig(cutmix=0.5)):
        assert draw_mix(optim, (1, 6, 8, 8), np.random.default_rng(0)) is None


@pytest.mark.parametrize("optim", [{"mixup": 0.3}, {"cutmix": 1.0}, {"cutmix": 1.0, "videomix": "temporal"}])
def test_partners_are_a_permutation_and_draws_depend_on_the_generator_alone(optim: Mapping[str, object]) -> None:
    one, other = (draw_mix(OptimConfig(**optim), (6, 6, 8, 8), np.random.default_rng(5)) for _ in range(2))
    assert one is not None
    assert other is not None
    assert sorted(one.partner.tolist()) == list(range(6))
    assert (one.share, one.cuboid, one.partner.tolist()) == (other.share, other.cuboid, other.partner.tolist())


@settings(max_examples=80, deadline=None)
@given(
    share=st.floats(0, 1),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)),
    kind=st.sampled_from(sorted(AXES)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_cuboid_stays_inside_and_is_never_larger_than_drawn(
    share: float, shape: tuple[int, int, int], kind: str, seed: int
) -> None:
    cuboid = draw_cuboid(share, shape, AXES[kind], np.random.default_rng(seed))
    assert all(0 <= part.start <= part.stop <= length for part, length in zip(cuboid, shape, strict=True))
    for axis, length in enumerate(shape):
        assert axis in AXES[kind] or cuboid[axis] == slice(0, length), "an axis that is not cut is whole"
    assert volume(cuboid) <= (1 - share) * math.prod(shape) + 1e-6


@pytest.mark.parametrize("kind", sorted(AXES))
def test_the_share_is_what_is_seen(kind: str) -> None:
    """The labels count exactly the pixels: a cuboid cut off at the border changes the share."""
    frames, labels = clips(), torch.arange(4)[:, None]
    rng, seen = np.random.default_rng(3), set()
    for _ in range(30):
        mix = draw_mix(OptimConfig(cutmix=1.0, videomix=kind), (4, 6, 8, 8), rng)
        assert mix is not None
        (piece,) = micro_batches(frames, labels, 4, mix)
        shown = owners(mixed_video(piece, SPEC, CPU))
        for own, other, clip in zip(frames[:, 0, 0, 0, 0], frames[mix.partner][:, 0, 0, 0, 0], shown, strict=True):
            assert own == other or (clip == own).double().mean().item() == pytest.approx(mix.share)
            assert set(clip.unique().tolist()) <= {float(own), float(other)}
        moved = (shown != frames[:, 0].float()).flatten(2).any(0)
        seen.add(tuple(moved.any(1).tolist()))
    assert torch.equal(frames, clips()), "the batch itself is left alone"
    whole_in_time = {(True,) * 6, (False,) * 6}
    assert (seen <= whole_in_time) == (kind == "spatial")


def test_a_temporal_cut_replaces_whole_frames() -> None:
    mix = Mix(0.5, torch.tensor([1, 0]), (slice(2, 5), slice(0, 8), slice(0, 8)))
    (piece,) = micro_batches(clips(2), torch.tensor([[0], [1]]), 2, mix)
    shown = owners(mixed_video(piece, SPEC, CPU))
    expected = torch.tensor([1.0, 1, 2, 2, 2, 1]).view(6, 1, 1).expand(6, 8, 8)
    assert torch.equal(shown[0], expected)
    assert torch.equal(shown[1], 3 - expected)


def test_mixup_blends_every_pixel() -> None:
    mix = Mix(0.25, torch.tensor([1, 0]))
    (piece,) = micro_batches(clips(2) * 40, torch.tensor([[0], [1]]), 2, mix)
    shown = owners(mixed_video(piece, SPEC, CPU))
    assert shown[0].unique().tolist() == [0.25 * 40 + 0.75 * 80]


def test_every_task_of_a_mixed_clip_counts_both_labels_by_share() -> None:
    logits = {"verb": torch.randn(2, 3), "noun": torch.randn(2, 5)}
    labels, other = torch.tensor([[0, 4], [2, 1]]), torch.tensor([[1, 1], [0, 3]])
    frames = clips(2)
    cuboid = (slice(0, 6), slice(0, 4), slice(0, 8))
    loss = piece_loss(logits, Piece(frames, labels, frames, other, 0.3, cuboid), 0.0)
    expected = 0.0
    for task, values in enumerate(logits.values()):
        log = values.log_softmax(-1)
        for clip in range(2):
            expected -= 0.3 * log[clip, labels[clip, task]] + 0.7 * log[clip, other[clip, task]]
    torch.testing.assert_close(loss, torch.as_tensor(expected) / 2)


def test_shares_of_a_spatial_cut_are_distributed_as_in_torchvision() -> None:
    theirs = v2.CutMix(alpha=1.0, num_classes=4)
    torch.manual_seed(0)
    query = [torch.zeros(4, 3, 112, 112)]
    shares = [theirs.make_params(query)["lam_adjusted"] for _ in range(2000)]
    ours = [mix.share for mix in mixes(2000, cutmix=1.0)]
    assert ks_2samp(ours, shares).pvalue > 0.05


def test_shares_of_mixup_are_distributed_as_in_torchvision() -> None:
    theirs = v2.MixUp(alpha=0.3, num_classes=4)
    torch.manual_seed(0)
    shares = [theirs.make_params([torch.zeros(4, 3, 8, 8)])["lam"] for _ in range(2000)]
    assert ks_2samp([mix.share for mix in mixes(2000, mixup=0.3)], shares).pvalue > 0.05


def test_with_both_on_half_of_the_steps_do_either() -> None:
    drawn = mixes(1000, mixup=0.3, cutmix=1.0)
    assert 450 < sum(mix.cuboid is None for mix in drawn) < 550


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf])
def test_an_impossible_alpha_is_refused_by_flag(alpha: float) -> None:
    with pytest.raises(UsageError, match=r"--optim.cutmix .*at least 0"):
        check_config(TrainConfig(optim=OptimConfig(cutmix=alpha)).resolved())
