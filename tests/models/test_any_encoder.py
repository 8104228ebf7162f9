"""Image encoders of timm in ViViT-FE: what each was made with, its function on a still clip, its weights.

Real architectures and widths, two blocks deep.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from golden import fill
from safetensors.torch import save_file
from torch import Tensor

from kinelite.config import NetConfig
from kinelite.models import card, create_model, load_weights
from kinelite.models.registry import Order
from kinelite.models.vivit import ViViTFE, build
from kinelite.models.vtn import VTN

POOLING = {
    "vit_small_patch14_reg4_dinov2.lvd142m": "token",
    "vit_small_patch16_dinov3.lvd1689m": "avg",
    "vit_base_patch16_siglip_224.webli": "map",
    "vit_base_patch16_siglip_224.v2_webli": "map",
    "vit_base_patch16_clip_quickgelu_224.openai": "token",
    "vit_base_patch32_clip_224.laion2b": "token",
    "eva02_tiny_patch14_224.mim_in22k": "avg",
    "beit_base_patch16_224.in22k_ft_in22k": "avg",
    "beitv2_base_patch16_224.in1k_ft_in22k": "avg",
    "vit_pe_core_tiny_patch16_384.fb": "map",
    "deit_tiny_distilled_patch16_224.fb_in1k": "token",
    "vit_relpos_medium_patch16_224.sw_in1k": "avg",
}
"""How timm pools each of them."""
encoders = pytest.mark.parametrize("name", POOLING)


def patch(name: str) -> int:
    return int(name.partition("_patch")[2][:2])


def small(name: str, patches: int = 3, **net: Any) -> Any:
    """ViViT-FE over the encoder, two blocks deep, of that many patches a side."""
    order = Order(card(f"vivit_fe:{name}"), {"label": 3}, 4, patches * patch(name), NetConfig(**net))
    return build(order, name, tubelet=2, layers=1, depth=2)


@cache
def image_model(name: str, patches: int = 3) -> Any:
    """timm's own, with weights that show, at any number of patches the same where that does not change their shape."""
    image = timm.create_model(name.partition(".")[0], depth=2, img_size=patches * patch(name), num_classes=0)
    fill(image)
    return image.eval()


def frames(name: str, patches: int = 3) -> Tensor:
    side = patches * patch(name)
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@encoders
def test_input_is_what_the_encoder_was_made_with(name: str) -> None:
    config = timm.get_pretrained_cfg(name)
    with torch.device("meta"):
        model: Any = create_model(f"vivit_fe:{name}", num_classes=3, frames=4)
    assert (model.spec.mean, model.spec.std) == (config.mean, config.std)
    assert model.spec.size == min(config.input_size[-1], 224)
    assert model.encoder.global_pool == POOLING[name]
    assert model.encode(torch.empty(1, 3, 4, model.spec.size, model.spec.size, device="meta")).shape[1] == 2


@encoders
@pytest.mark.parametrize("inflate", ["central", "average"])
def test_a_still_clip_is_seen_as_the_image_model_sees_the_frame(name: str, inflate: str) -> None:
    model = small(name, inflate=inflate).eval()
    load_weights(model, image_model(name).state_dict())
    with torch.no_grad():
        expected = image_model(name)(frames(name))
        still = model.encode(frames(name)[:, :, None].expand(-1, -1, 4, -1, -1))
    assert expected.std() > 0.05
    assert (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close(still, expected[:, None].expand(-1, 2, -1), atol=1e-5, rtol=1e-5)


@encoders
def test_weights_of_another_size_are_resampled_as_timm_does(name: str, tmp_path: Path) -> None:
    """timm reads a file in its own way; the classifier in it is dropped."""
    state = image_model(name, 4).state_dict()
    width = image_model(name).num_features
    save_file(state, tmp_path / "image.safetensors")
    options = {"depth": 2, "img_size": 3 * patch(name), "num_classes": 0}
    file = {"file": str(tmp_path / "image.safetensors")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, on how timm interpolates the tables of BEiT
        theirs = timm.create_model(name.partition(".")[0], pretrained=True, pretrained_cfg_overlay=file, **options)
    model = small(name).eval()
    report = load_weights(model, state | {"head.weight": torch.zeros(10, width), "head.bias": torch.zeros(10)})
    resampled = any("resampled from" in note for note in report.notes)
    assert resampled == any(state[key].shape != value.shape for key, value in theirs.state_dict().items())
    with torch.no_grad():
        expected = theirs.eval()(frames(name))
        still = model.encode(frames(name)[:, :, None].expand(-1, -1, 4, -1, -1))
    torch.testing.assert_close(still[:, 0], expected, atol=1e-5, rtol=1e-5)


@encoders
def test_a_whole_model_of_another_size_is_resampled_like_image_weights(name: str) -> None:
    """As between stages of other sizes."""
    large, model, wanted = small(name, 4), small(name), small(name)
    load_weights(large, image_model(name, 4).state_dict())
    load_weights(wanted, image_model(name, 4).state_dict())
    load_weights(model, large.state_dict())
    for key, tensor in wanted.encoder.state_dict().items():
        torch.testing.assert_close(model.encoder.state_dict()[key], tensor, atol=1e-5, rtol=1e-5, msg=key)


@encoders
def test_adapter_parts_and_every_parameter_learn(name: str) -> None:
    model = small(name, patches=2, temporal="probe")
    model.add_adapter()
    fill(model)
    model(torch.randn(2, 3, 4, model.spec.size, model.spec.size)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_frame_cnn_takes_the_same_parts() -> None:
    with torch.device("meta"):
        model: Any = create_model("vtn:mobilenetv3_small_100", num_classes=3, frames=4, net=NetConfig(temporal="probe"))
        model.add_adapter()
        assert isinstance(model, VTN)
        assert not isinstance(model, ViViTFE)
        assert model(torch.empty(2, 3, 4, 224, 224)).shape == (2, 3)
