"""TSM against the authors' code and MMAction2, the shift against its definition, and checkpoints by their names.

``tests/reference/[mmaction_]tsm_*.safetensors`` hold the logits of that code (its revision is in their metadata), run
in evaluation over the clips of `video` with the weights of `published.checkpoint`: 4 frames, 64 pixels, 7 classes.
``tests/reference/layouts/*.json`` hold the names and shapes of its state dict, for a module saved in DataParallel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from published import checkpoint, outputs
from torch import Tensor

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import card, create_model, load_weights
from kinelite.models.checkpoints.layout import Layout
from kinelite.models.checkpoints.tsm import MMACTION, MOBILENET, RESNET
from kinelite.models.tsm import shift
from kinelite.types import InputSpec

PUBLISHED = {
    "tsm_r50": (RESNET, 1.2),
    "tsm_mobilenet_v2": (MOBILENET, 1.5),
    "mmaction_tsm_r50": (MMACTION[0], 1.2),
    "mmaction_tsm_mobilenet_v2": (MMACTION[1], 1.5),
}


def build(name: str, **options: Any) -> Any:
    options = {"num_classes": 7, "frames": 4, "size": 64} | options
    return create_model(name.removeprefix("mmaction_"), **options).eval()


def video(frames: int = 4) -> Tensor:
    return torch.randn(2, 3, frames, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_checkpoints_fill_the_model_and_give_the_logits_of_their_code(name: str) -> None:
    layout, gain = PUBLISHED[name]
    model, state = build(name), checkpoint(name, layout, gain)
    report = load_weights(model, state)
    assert report.loaded == len(state)
    assert report.new == ()
    with torch.no_grad():
        ours, theirs = model(video()), outputs(name)["logits"]
    assert (theirs[0] - theirs[1]).abs().max() > 0.1, "the comparison must not be between two constants"
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_damaged_checkpoints_are_refused_with_what_differs(name: str) -> None:
    layout: Layout = PUBLISHED[name][0]
    state = checkpoint(name, layout)
    first = next(theirs for theirs in state if theirs.endswith("weight") and state[theirs].ndim == 4)
    missing = {theirs: tensor for theirs, tensor in state.items() if theirs != first}
    extra = state | {"module.base_model.nl.theta.weight": torch.zeros(3)}
    shape = state | {first: state[first][:-1]}
    model = build(name)
    for damaged, said in (
        (missing, "1 in the model but not"),
        (extra, "1 in the file but not"),
        (shape, "1 of another"),
    ):
        with pytest.raises(UsageError, match=said):
            load_weights(model, damaged)


def by_definition(x: Tensor, frames: int) -> Tensor:
    clips = x.unflatten(0, (-1, frames))
    fold, made = x.shape[1] // 8, clips.clone()
    for t in range(frames):
        made[:, t, :fold] = clips[:, t + 1, :fold] if t + 1 < frames else 0
        made[:, t, fold : 2 * fold] = clips[:, t - 1, fold : 2 * fold] if t else 0
    return made.flatten(0, 1)


@pytest.mark.parametrize(("channels", "frames"), [(8, 1), (16, 2), (24, 3), (20, 5), (7, 3)])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_shift_and_its_gradient_follow_the_definition(channels: int, frames: int, memory: torch.memory_format) -> None:
    x = torch.randn(2 * frames, channels, 3, 5).to(memory_format=memory).requires_grad_()
    ours, theirs = shift(x, frames, following=True), by_definition(x, frames)
    assert torch.equal(ours, theirs)
    weights = torch.randn(ours.shape)
    ours_to_x = torch.autograd.grad((ours * weights).sum(), x)[0]
    assert torch.equal(ours_to_x, torch.autograd.grad((theirs * weights).sum(), x)[0])


@pytest.mark.parametrize("name", ["tsm_r50", "tsm_mobilenet_v2"])
def test_any_number_of_frames_and_pixels(name: str) -> None:
    model = build(name)
    for frames, height, width in ((1, 1, 1), (2, 33, 47), (5, 64, 32)):
        with torch.no_grad():
            assert model(torch.randn(1, 3, frames, height, width)).isfinite().all()


@pytest.mark.parametrize("name", ["tsm_r50", "tsm_mobilenet_v2"])
def test_image_weights_fill_the_encoder(name: str) -> None:
    torch.manual_seed(0)
    model = build(name)
    image = timm.create_model(model.image)
    report = load_weights(model, image.state_dict())
    assert report.new == ("head",)
    own = model.encoder.state_dict()
    assert all(torch.equal(own[k], v) for k, v in image.state_dict().items() if k in own)
    assert report.loaded == len(own)


def test_classifier_starts_small_and_drops_half() -> None:
    torch.manual_seed(0)
    linear = build("tsm_mobilenet_v2", num_classes=400).head["label"]
    assert float(linear.weight.detach().std()) == pytest.approx(0.001, rel=0.01)
    assert not linear.bias.any()
    assert build("tsm_mobilenet_v2").head.dropout == 0.5
    assert build("tsm_mobilenet_v2", net=NetConfig(dropout=0.0)).head.dropout == 0


def test_options_that_it_does_not_have_are_refused() -> None:
    with pytest.raises(UsageError, match=r"it takes net\.dropout"):
        create_model("tsm_r50", net=NetConfig(drop_path=0.1))


@pytest.mark.parametrize(
    ("name", "release", "expected"),
    [
        ("tsm_r50", "k400_16f", InputSpec(16, 224, fit="crop")),
        ("tsm_r50", "ssv2_8f", InputSpec(8, 224, fit="crop")),
        ("tsm_r50", "k400_8f_dense_mmaction", InputSpec(8, 224, sampling="dense", stride=8, fit="crop")),
        ("tsm_mobilenet_v2", "k400_8f_dense", InputSpec(8, 224, sampling="dense", stride=8, fit="crop")),
        ("tsm_mobilenet_v2_online", "jester", InputSpec(8, 224, fit="crop")),
    ],
)
def test_a_release_says_what_it_was_trained_with(name: str, release: str, expected: InputSpec) -> None:
    """As the scripts of their authors sample and crop; what it says is what `MODEL@RELEASE` is evaluated with."""
    found = next(r for r in card(name).releases if r.name == release)
    assert replace(card(name).spec, **found.spec) == expected
