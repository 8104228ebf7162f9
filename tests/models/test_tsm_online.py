"""Online TSM against the authors' demo, which runs frame by frame; and frame by frame against whole clips.

``tests/reference/tsm_mobilenet_v2_online.safetensors`` holds the mean over 4 frames of the logits of their network
(its revision is in the metadata) with the weights of `published.checkpoint`: 64 pixels, 7 classes.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import fill
from published import checkpoint, outputs
from torch import Tensor

from kinelite.errors import UsageError
from kinelite.models import create_model, load_weights
from kinelite.models.checkpoints.tsm import ONLINE, RESNET
from kinelite.models.tsm import shift

NAMES = ["tsm_r50_online", "tsm_mobilenet_v2_online"]


def build(name: str, size: int = 64) -> Any:
    model = create_model(name, num_classes=7, frames=4, size=size).eval()
    fill(model)
    return model


def video(size: int = 64) -> Tensor:
    return torch.randn(2, 3, 4, size, size, generator=torch.Generator().manual_seed(0))


def steps(model: Any, clip: Tensor) -> list[Tensor]:
    state, made = None, []
    for t in range(clip.shape[2]):
        logits, state = model.step(clip[:, :, t], state)
        made.append(logits)
    return made


def test_checkpoint_of_the_demo_gives_the_logits_of_its_code() -> None:
    model, state = build("tsm_mobilenet_v2_online"), checkpoint("tsm_mobilenet_v2_online", ONLINE, 1.5)
    report = load_weights(model, state)
    assert report.loaded == len(state)
    assert report.new == ()
    theirs = outputs("tsm_mobilenet_v2_online")["logits"]
    with torch.no_grad():
        torch.testing.assert_close(steps(model, video())[-1], theirs, atol=1e-4, rtol=0)
        torch.testing.assert_close(model(video()), theirs, atol=1e-4, rtol=0)
    assert (theirs[0] - theirs[1]).abs().max() > 0.1


def test_a_damaged_checkpoint_of_the_demo_is_refused() -> None:
    model, state = build("tsm_mobilenet_v2_online"), checkpoint("tsm_mobilenet_v2_online", ONLINE)
    state["features.3.conv.0.weight"] = state["features.3.conv.0.weight"][:-1]
    del state["features.4.conv.1.running_var"]
    with pytest.raises(UsageError, match="1 in the model but not in the file") as error:
        load_weights(model, state)
    assert "143x24x1x1" in str(error.value)


def test_weights_of_the_offline_model_start_the_online_one() -> None:
    state = checkpoint("tsm_r50", RESNET)
    assert load_weights(build("tsm_r50_online"), state).loaded == len(state)


@pytest.mark.parametrize("name", NAMES)
def test_every_step_ends_as_the_clip_so_far(name: str) -> None:
    model, clip = build(name), video()
    with torch.no_grad():
        for t, logits in enumerate(steps(model, clip)):
            torch.testing.assert_close(logits, model(clip[:, :, : t + 1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_changes_no_earlier_one_and_all_later_ones(name: str) -> None:
    model, clip = build(name), video()
    other = clip.clone()
    other[:, :, 1] += 1
    with torch.no_grad():
        changed = (model.forward_features(other) != model.forward_features(clip)).flatten(2).any(2)
    assert changed.tolist() == [[False, True, True, True]] * 2


def test_state_at_224_pixels_is_that_of_the_demo() -> None:
    with torch.device("meta"):
        model: Any = create_model("tsm_mobilenet_v2_online")
        shapes = [tuple(t.shape) for t in model.start(1)]
    sizes = [(3, 56), (4, 28), (4, 28), (8, 14), (8, 14), (8, 14), (12, 14), (12, 14), (20, 7), (20, 7)]
    assert shapes == [*((1, c, s, s) for c, s in sizes), (1, 1280, 1, 1), (1, 1, 1, 1)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 33, 50])
def test_start_fits_frames_of_any_size(name: str, size: int) -> None:
    model, clip = build(name, size), video(size)
    with torch.no_grad():
        _, after = model.step(clip[:, :, 0], model.start(2))
    assert [t.shape for t in after] == [t.shape for t in model.start(2)]


@pytest.mark.parametrize("name", NAMES)
def test_frames_of_another_size_are_taken_as_the_clip_takes_them(name: str) -> None:
    model, clip = build(name), torch.randn(2, 3, 3, 33, 70)
    with torch.no_grad():
        torch.testing.assert_close(steps(model, clip)[-1], model(clip), atol=1e-4, rtol=1e-4)


def test_a_state_of_other_frames_is_refused_and_so_is_training() -> None:
    model, frame = build("tsm_mobilenet_v2_online"), torch.randn(1, 3, 64, 64)
    for state in (model.start(2), model.start(1)[:-1], build("tsm_mobilenet_v2_online", 32).start(1)):
        with pytest.raises(UsageError, match="not made for frames 1x3x64x64"):
            model.step(frame, state)
    with pytest.raises(UsageError, match=r"model\.eval"):
        model.train().step(frame)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_any_precision_counts_its_frames(dtype: torch.dtype) -> None:
    """bf16 has no number between 256 and 258."""
    model, frame = build("tsm_mobilenet_v2_online", 32).to(dtype), torch.randn(1, 3, 32, 32).to(dtype)
    *left, total, _ = model.start()
    with torch.no_grad():
        logits, after = model.step(frame, (*left, total, torch.full((1, 1, 1, 1), 4096.0)))
    assert float(after[-1]) == 4097
    assert logits.dtype == dtype
    assert after[-2].dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize(("channels", "frames"), [(8, 1), (24, 3), (20, 5)])
def test_shift_and_its_gradient_follow_the_definition(channels: int, frames: int) -> None:
    x = torch.randn(2 * frames, channels, 3, 5, requires_grad=True)
    clips, fold = x.unflatten(0, (-1, frames)), channels // 8
    theirs = clips.clone()
    theirs[:, 0, :fold] = 0
    theirs[:, 1:, :fold] = clips[:, :-1, :fold]
    ours, theirs = shift(x, frames, following=False), theirs.flatten(0, 1)
    assert torch.equal(ours, theirs)
    weights = torch.randn(ours.shape)
    ours_to_x = torch.autograd.grad((ours * weights).sum(), x)[0]
    assert torch.equal(ours_to_x, torch.autograd.grad((theirs * weights).sum(), x)[0])
