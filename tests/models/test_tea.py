"""TEA against the authors' code, in evaluation and in training, and its two parts against their definitions.

``tests/reference/tea_r50.safetensors`` holds the logits of that code (its revision and what had to be mended are in
the metadata) over the clips of `video` with the weights of `published.checkpoint`: 8 frames, 64 pixels, 7 classes. The
logits in training were made in double precision, without dropout: in single precision 16 batch norms over a few
pixels turn rounding into differences of 1e-4.
"""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from golden import fill
from published import checkpoint, outputs
from torch import Tensor

from kinelite.errors import UsageError
from kinelite.models import create_model, load_weights
from kinelite.models.tea import AUTHORS, MotionExcitation, TemporalConv


def build() -> Any:
    return create_model("tea_r50", num_classes=7, frames=8, size=64).eval()


def video() -> Tensor:
    return torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))


def test_checkpoint_of_the_authors_code_gives_its_logits() -> None:
    model, state = build(), checkpoint("tea_r50", AUTHORS, 1.2)
    report = load_weights(model, state)
    assert report.loaded == len(state)
    assert report.new == ()
    reference = outputs("tea_r50")
    assert (reference["logits"][0] - reference["logits"][1]).abs().max() > 0.1
    with torch.no_grad():
        torch.testing.assert_close(model(video()), reference["logits"], atol=1e-4, rtol=0)
        model.double().train().head.dropout = 0.0
        torch.testing.assert_close(model(video().double()), reference["training_logits"], atol=1e-9, rtol=0)


def test_damaged_checkpoints_are_refused_with_what_differs() -> None:
    model, state = build(), checkpoint("tea_r50", AUTHORS)
    name = "module.base_model.layer1.0.shifts.3.conv.weight"
    missing = {theirs: tensor for theirs, tensor in state.items() if theirs != name}
    extra, shape = state | {"module.base_model.fc.weight": torch.zeros(3)}, state | {name: state[name][:-1]}
    for damaged, said in (
        (missing, "1 in the model but not"),
        (extra, "1 in the file but not"),
        (shape, "1 of another"),
    ):
        with pytest.raises(UsageError, match=said):
            load_weights(model, damaged)


def test_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in create_model("tea_r50").parameters()) == 24_919_354


def by_definition(me: MotionExcitation, x: Tensor, frames: int) -> Tensor:
    """Section 3.1, step by step over whole maps."""
    reduced = me.bn1(me.conv1(x))
    before, after = (maps.unflatten(0, (-1, frames)) for maps in (reduced, me.conv2(reduced)))
    motion = torch.cat([after[:, 1:] - before[:, :-1], torch.zeros_like(before[:, :1])], dim=1).flatten(0, 1)
    return torch.sigmoid(me.bn3(me.conv3(F.adaptive_avg_pool2d(motion, 1)))) + 0.5


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(32, 6, 5), (48, 1, 4), (16, 1, 1), (40, 2, 2)])
def test_motion_excitation_and_its_gradients_follow_the_definition(shape: tuple, training: bool) -> None:
    me = MotionExcitation(shape[0]).double().train(training)
    fill(me)
    x = torch.randn(2 * 3, *shape, dtype=torch.double, requires_grad=True)
    weights = torch.randn(6, shape[0], 1, 1, dtype=torch.double)
    results = []
    for once in (me, lambda *given: by_definition(me, *given)):
        me.zero_grad()
        factors = once(x, 3)
        to_x = torch.autograd.grad((factors * weights).sum(), [x, *me.parameters()])
        results.append([factors, *to_x])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_temporal_convolution_is_one_over_time_for_each_pixel(frames: int) -> None:
    mix = TemporalConv(torch.randn(6, 3))
    x = torch.randn(2 * frames, 6, 3, 4)
    pixels = x.unflatten(0, (2, frames)).permute(0, 3, 4, 2, 1).reshape(-1, 6, frames)
    theirs = mix.conv(pixels).reshape(2, 3, 4, 6, frames).permute(0, 4, 3, 1, 2).flatten(0, 1)
    torch.testing.assert_close(mix(x, frames), theirs)


def test_temporal_convolutions_start_as_identities_and_one_shift() -> None:
    x = torch.randn(3, 26, 2, 2)
    for block in build().encoder.layer1:
        for same in block.shifts[:3]:
            assert torch.equal(same(x, 3), x)
        shifted = block.shifts[3](x, 3)
        assert torch.equal(shifted[:-1, :13], x[1:, :13])
        assert torch.equal(shifted[1:, 13:], x[:-1, 13:])
        assert not shifted[-1, :13].any()
        assert not shifted[0, 13:].any()


def test_image_weights_fill_all_but_the_new_parts() -> None:
    torch.manual_seed(0)
    model, image = build(), timm.create_model("res2net50_26w_4s")
    report = load_weights(model, image.state_dict())
    assert report.loaded == len(image.state_dict()) - 2
    assert "head" in report.new
    named = dict(model.named_parameters())
    fresh = {name for name in named if not model.in_backbone(name)}
    assert {name.split(".")[3] for name in fresh if name.startswith("encoder")} == {"me", "shifts"}
    assert sum(named[name].numel() for name in fresh) == 24_919_354 - 400 * 2049 - 23_650_120 + 7 * 2049


def test_any_number_of_frames_and_pixels() -> None:
    model = build()
    for frames, height, width in ((1, 1, 1), (2, 33, 47), (5, 64, 32)):
        with torch.no_grad():
            assert model(torch.randn(1, 3, frames, height, width)).isfinite().all()
