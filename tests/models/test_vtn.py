"""VTN against a composition of timm's CNN and torch.nn.TransformerEncoder; there is no public VTN over a CNN."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import card, create_model, load_weights

CNNS = {"vtn_r50": "resnet50", "vtn_eff": "efficientnet_b0", "vtn:mobilenetv3_small_100": "mobilenetv3_small_100"}


def lively(name: str, **options: Any) -> Any:
    """A small model in which nothing is trivial: random weights, statistics of a forward pass in its norms."""
    torch.manual_seed(0)
    model = create_model(name, **{"num_classes": 7, "frames": 4, "size": 64, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = 1.0
        model(torch.randn(4, 3, 4, 64, 64))
    return model.eval()


def independent(model: Any, cnn: str, video: Tensor) -> Tensor:
    state = model.state_dict()
    image = timm.create_model(cnn, num_classes=0).eval()
    image.load_state_dict({k.removeprefix("encoder.image."): v for k, v in state.items() if "encoder.image." in k})
    project = nn.Linear(state["encoder.project.weight"].shape[1], 256)
    project.load_state_dict({kind: state[f"encoder.project.{kind}"] for kind in ("weight", "bias")})
    layer = nn.TransformerEncoderLayer(
        256, 8, 1024, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    names = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "linear1.": "mlp.fc1."}
    names |= {"linear2.": "mlp.fc2.", "norm1.": "norm1.", "norm2.": "norm2."}
    norm = nn.LayerNorm(256, eps=1e-6)
    encoder = nn.TransformerEncoder(layer, 3, norm=norm, enable_nested_tensor=False)
    copied = {f"norm.{kind}": state[f"temporal.norm.{kind}"] for kind in ("weight", "bias")}
    for i in range(3):
        for theirs, ours in names.items():
            for kind in ("weight", "bias"):
                copied[f"layers.{i}.{theirs}{kind}"] = state[f"temporal.blocks.{i}.{ours}{kind}"]
    encoder.load_state_dict(copied)
    features = torch.stack([project(image(frame)) for frame in video.unbind(2)], dim=1)
    tokens = torch.cat([state["temporal.cls"].expand(len(features), -1, -1), features], 1)
    cls = encoder(tokens + state["temporal.positions"])[:, 0]
    return nn.functional.linear(cls, state["head.label.weight"], state["head.label.bias"])


@pytest.mark.parametrize(("name", "cnn"), CNNS.items())
def test_equals_an_independent_composition(name: str, cnn: str) -> None:
    model, video = lively(name), torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad():
        ours, theirs = model(video), independent(model, cnn, video)
    assert (ours[0] - ours[1]).abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["vtn_r50", "vtn_eff"])
def test_frames_are_encoded_alone(name: str) -> None:
    model, video = lively(name), torch.randn(2, 3, 4, 64, 64)
    other = video.clone()
    other[:, :, 2] += 1
    with torch.no_grad():
        whole = model.encode(video)
        chunks = torch.cat([model.encode(video[:, :, :1]), model.encode(video[:, :, 1:])], dim=1)
        changed = (model.encode(other) - whole).abs().amax(dim=(0, 2)) > 1e-3
        torch.testing.assert_close(model.classify(whole), model(video))
    assert whole.shape == (2, 4, 256)
    torch.testing.assert_close(chunks, whole, atol=1e-4, rtol=1e-4)
    assert changed.tolist() == [False, False, True, False]


def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        counts = [sum(p.numel() for p in create_model(name).parameters()) for name in ("vtn_r50", "vtn_eff")]
    assert counts == [26_509_776, 6_812_684]


@pytest.mark.parametrize(("name", "cnn"), CNNS.items())
def test_image_weights_fill_the_cnn_and_nothing_else(name: str, cnn: str) -> None:
    torch.manual_seed(1)
    image, model = timm.create_model(cnn), create_model(name, frames=4)
    before = model.encoder.project.weight.clone()
    report = load_weights(model, image.state_dict())
    assert set(report.new) == {"project", "temporal", "head"}
    filled = {k.removeprefix("encoder.image."): v for k, v in model.state_dict().items() if model.in_backbone(k)}
    given = image.state_dict()
    assert all(torch.equal(v, given[k]) for k, v in filled.items())
    assert {k for k in given if k not in filled} <= {"fc.weight", "fc.bias", "classifier.weight", "classifier.bias"}
    assert torch.equal(model.encoder.project.weight, before)


def test_damaged_image_weights_are_told() -> None:
    state = timm.create_model("efficientnet_b0").state_dict()
    del state["conv_head.weight"]
    state["bn2.bias"] = state["bn2.bias"][:3]
    state["surprise"] = torch.zeros(1)
    for word in ("conv_head", "bn2.bias", "surprise"):
        with pytest.raises(UsageError, match=word):
            load_weights(create_model("vtn_eff", frames=4), state)


def test_positions_fit_another_number_of_frames() -> None:
    short, long = lively("vtn_eff"), create_model("vtn_eff", num_classes=7, frames=10)
    report = load_weights(long, short.state_dict())
    assert any("from 4 to 10" in note for note in report.notes)


def test_any_cnn_with_its_own_input() -> None:
    facts = card("vtn:repghostnet_050.in1k")
    assert facts.weights == "repghostnet_050.in1k"
    with torch.device("meta"):
        model: Any = create_model("vtn:inception_v4", num_classes=3, frames=2)
        chosen: Any = create_model("vtn_r50", frames=2, net=NetConfig(encoder="inception_v4", temporal_layers=1))
    assert (model.spec.mean, model.spec.size) == ((0.5, 0.5, 0.5), 224)
    assert chosen.spec == model.spec
    assert len(chosen.temporal.blocks) == 1


@pytest.mark.parametrize(
    ("name", "size", "near"), [("dla34", 97, 96), ("hrnet_w18_small", 65, 64), ("inception_v3", 64, 224)]
)
def test_sizes_that_a_cnn_cannot_take(name: str, size: int, near: int) -> None:
    """Each is an error of shapes within timm's model, far from what was asked for."""
    with torch.device("meta"):
        with pytest.raises(UsageError, match=rf"{name}' cannot take frames of {size} x {size}.*: {near}\."):
            create_model(f"vtn:{name}", size=size, frames=2)
        assert create_model(f"vtn:{name}", size=near, frames=2)


def test_a_name_of_old_is_unknown() -> None:
    """timm builds it as legacy_xception, but tells neither its mean nor its size under the old name."""
    with pytest.raises(UsageError, match=r"Unknown encoder 'xception'. Nearest: xception"):
        create_model("vtn:xception")


@pytest.mark.parametrize(
    ("name", "said"),
    [("vtn:vit_tiny_patch16_224", "vivit_fe:vit_tiny"), ("vtn:resnet5", "resnet50"), ("vtn", "vtn:E")],
)
def test_what_is_no_cnn(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        create_model(name)
