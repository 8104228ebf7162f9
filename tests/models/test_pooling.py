"""Class token, mean of the patches, or both: against timm's own tokens."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from golden import fill

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import create_model, load_weights
from kinelite.models.class_token import ClassTokenBlock

SMALL = {"num_classes": 3, "frames": 2, "size": 28}
REGISTERS = "vit_small_patch14_reg4_dinov2"
AVERAGE = "eva02_tiny_patch14_224"
NO_TOKEN = "vit_base_patch16_siglip_224"


def made(encoder: str, pool: str | None, **options: Any) -> Any:
    net = NetConfig(tubelet=1, pool=pool)  # type: ignore[arg-type]
    return create_model(f"vivit_fe:{encoder}", net=net, **{**SMALL, **options}).eval()


@pytest.mark.parametrize("encoder", [REGISTERS, AVERAGE])
@pytest.mark.parametrize("pool", ["token", "mean", "both"])
def test_vectors_are_those_of_timms_tokens(encoder: str, pool: str) -> None:
    model = made(encoder, pool)
    fill(model)
    image: Any = timm.create_model(encoder, num_classes=0, img_size=28).eval()
    image.load_state_dict(model.encoder.state_dict())
    video = torch.randn(2, 3, 2, 28, 28)
    with torch.no_grad():
        tokens = image.forward_features(video.transpose(1, 2).flatten(0, 1))
        prefix = 5 if encoder == REGISTERS else 1
        wanted = {"token": tokens[:, 0], "mean": tokens[:, prefix:].mean(1)}
        wanted = {name: image.fc_norm(vector) for name, vector in wanted.items()}
        wanted["both"] = torch.cat([wanted["token"], wanted["mean"]], dim=1)
        features = model.encode(video)
    assert features.shape[2] == model.width
    torch.testing.assert_close(features, wanted[pool].unflatten(0, (2, 2)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("pool", "alone"), [(None, True), ("token", True), ("mean", False), ("both", False)])
def test_the_last_block_computes_the_class_token_alone_only_where_that_is_all(pool: str | None, alone: bool) -> None:
    with torch.device("meta"):
        assert isinstance(made("vit_tiny_patch16_224", pool, size=32).encoder.blocks[-1], ClassTokenBlock) is alone


@pytest.mark.parametrize("temporal", ["transformer", "probe", "mean"])
def test_both_are_twice_as_long_and_every_parameter_gets_a_gradient(temporal: str) -> None:
    torch.manual_seed(0)
    net = NetConfig(pool="both", temporal=temporal)  # type: ignore[arg-type]
    model: Any = create_model("vivit_fe_nano", num_classes=4, frames=8, size=32, net=net)
    model.add_adapter()
    assert (model.width, model.adapter.fc1.in_features) == (192, 192)
    assert model.head.label.in_features == (192 if temporal == "mean" else 96)
    model(torch.randn(2, 3, 8, 32, 32)).square().sum().backward()
    # Nothing of fc1 counts before the first step: the second layer starts at zero.
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == ["adapter.fc1.weight", "adapter.fc1.bias"]


def test_an_attention_pooling_is_left_out_of_model_and_weights() -> None:
    model = made(NO_TOKEN, "mean", size=32)
    assert not [name for name in model.state_dict() if "attn_pool" in name]
    report = load_weights(model, timm.create_model(NO_TOKEN, num_classes=0).state_dict())
    assert "attention pooling left out for net.pool mean" in report.notes


@pytest.mark.parametrize(
    ("model", "pool", "said"),
    [
        (f"vivit_fe:{NO_TOKEN}", "token", "no class token for net.pool token. It takes mean"),
        (f"vivit_fe:{NO_TOKEN}", "both", "no class token for net.pool both"),
        ("vivit_fe:swin_tiny_patch4_window7_224", "mean", "side by side"),
        ("vtn_eff", "mean", "no net.pool"),
    ],
)
def test_what_an_encoder_does_not_have_is_refused(model: str, pool: str, said: str) -> None:
    with pytest.raises(UsageError, match=said), torch.device("meta"):
        create_model(model, frames=4, net=NetConfig(pool=pool))  # type: ignore[arg-type]
