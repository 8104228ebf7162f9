"""The contract of factorised models: encode without mixing over time, adapter, several tasks, any timm encoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import Adapter, create_model

ENCODERS = {
    "vit_tiny_patch16_224": 192,
    "vit_small_patch14_reg4_dinov2": 384,
    "eva02_tiny_patch14_224": 192,
    "vit_base_patch16_siglip_224": 768,
    "deit_tiny_distilled_patch16_224": 192,
    "vit_base_patch16_dinov3": 768,
}


@pytest.fixture
def nano() -> nn.Module:
    torch.manual_seed(0)
    return create_model("vivit_fe_nano", num_classes=5, frames=8, net=NetConfig(tubelet=2)).eval()


def test_classify_of_encode_is_forward(nano: nn.Module) -> None:
    video = torch.randn(2, 3, 8, 64, 64)
    with torch.no_grad():
        assert nano.encode(video).shape == (2, 4, 96)
        assert nano.forward_features(video).shape == (2, 96)
        assert torch.equal(nano.classify(nano.encode(video)), nano(video))


def test_encode_does_not_mix_over_time(nano: nn.Module) -> None:
    video = torch.randn(1, 3, 8, 64, 64)
    other = video.clone()
    other[:, :, 4:6] += 1
    with torch.no_grad():
        same = (nano.encode(video) == nano.encode(other)).all(dim=2)[0]
    assert same.tolist() == [True, True, False, True]


def test_encoding_in_chunks_gives_the_same_features(nano: nn.Module) -> None:
    video = torch.randn(2, 3, 8, 64, 64)
    with torch.no_grad():
        chunks = torch.cat([nano.encode(video[:, :, i : i + 2]) for i in range(0, 8, 2)], dim=1)
        torch.testing.assert_close(chunks, nano.encode(video), atol=1e-6, rtol=1e-6)


def test_the_order_of_frames_matters(nano: nn.Module) -> None:
    video = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        swapped = nano(video[:, :, [2, 3, 0, 1, 4, 5, 6, 7]])
        reversed_in_tubelet = nano(video[:, :, [1, 0, 2, 3, 4, 5, 6, 7]])
        assert (nano(video) - swapped).abs().max() > 1e-5
        assert (nano(video) - reversed_in_tubelet).abs().max() > 1e-5


def test_adapter_starts_as_the_identity_and_learns(nano: nn.Module) -> None:
    video = torch.randn(1, 3, 8, 64, 64)
    before = nano(video)
    nano.add_adapter()
    first = nano.adapter
    nano.add_adapter()
    assert isinstance(first, Adapter)
    assert nano.adapter is first, "a second call must not forget what the adapter learnt"
    assert torch.equal(nano(video), before)
    nano(video).square().sum().backward()
    with torch.no_grad():
        nano.adapter.fc2.weight -= nano.adapter.fc2.weight.grad
    assert not torch.equal(nano(video), before)


def test_several_tasks_give_a_dict_and_one_task_a_tensor() -> None:
    model = create_model("vivit_fe_nano", heads={"verb": 97, "noun": 300}, frames=4)
    logits = model(torch.randn(2, 3, 4, 64, 64))
    assert {task: tuple(value.shape) for task, value in logits.items()} == {"verb": (2, 97), "noun": (2, 300)}
    assert isinstance(create_model("vivit_fe_nano", heads={"label": 3}, frames=4)(torch.randn(2, 3, 4, 64, 64)), Tensor)


def test_dropout_before_the_classifier_only_in_training() -> None:
    model = create_model("vivit_fe_nano", num_classes=5, frames=4, net=NetConfig(tubelet=2, dropout=0.5))
    features = torch.randn(1, 2, 96)
    assert not torch.equal(model.classify(features), model.classify(features))
    model.eval()
    assert torch.equal(model.classify(features), model.classify(features))


def test_stochastic_depth_rises_linearly_in_both_transformers() -> None:
    model = create_model("vivit_fe_ti", net=NetConfig(drop_path=0.3))
    for blocks in (model.encoder.blocks, model.temporal.blocks):
        rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in blocks]
        steps = torch.tensor(rates).diff()
        assert rates[0] == 0
        assert rates[-1] == pytest.approx(0.3)
        torch.testing.assert_close(steps, torch.full_like(steps, 0.3 / (len(blocks) - 1)))


@pytest.mark.parametrize(("encoder", "width"), ENCODERS.items())
def test_any_timm_transformer_is_an_encoder(encoder: str, width: int) -> None:
    with torch.device("meta"):
        model = create_model(f"vivit_fe:{encoder}", num_classes=6, frames=4)
        video = torch.empty(2, 3, 4, model.spec.size, model.spec.size)
    features = model.encode(video)
    assert features.shape == (2, 2, width)
    assert model.classify(features).shape == (2, 6)


@pytest.mark.parametrize("encoder", ["eva02_tiny_patch14_224", "deit_tiny_distilled_patch16_224"])
def test_other_encoders_run_on_real_numbers(encoder: str) -> None:
    patch = 14 if "14" in encoder else 16
    model = create_model("vivit_fe_nano", frames=4, size=2 * patch, net=NetConfig(encoder=encoder)).eval()
    with torch.no_grad():
        video = torch.randn(1, 3, 4, 2 * patch, 2 * patch)
        assert (model(video) - model(video.flip(2))).abs().max() > 0


@pytest.mark.parametrize(
    ("frames", "size", "said"), [(7, 64, "7 frames"), (8, 48, "48 x 48"), (6, 64, "built for 4 tubelets")]
)
def test_a_video_of_another_shape_is_refused(nano: nn.Module, frames: int, size: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        nano(torch.randn(1, 3, frames, size, size))
