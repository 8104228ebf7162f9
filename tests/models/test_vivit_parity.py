"""ViViT-FE against references: real DeiT-Tiny logits, and a composition of Conv3d, timm blocks and torch's encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from kinelite.config import NetConfig
from kinelite.models import create_model, load_weights

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights"
DEIT = WEIGHTS / "deit_tiny_patch16_224.imagenet1k.safetensors"
needs_deit = pytest.mark.skipif(not DEIT.is_file(), reason=f"the real DeiT-Tiny weights are not at {DEIT}")


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(WEIGHTS / "deit_tiny_patch16_224.reference.npz") as file:
        return {name: file[name] for name in file.files}


def photographs(reference: dict[str, np.ndarray], model: nn.Module) -> Tensor:
    """The two photographs as a video [1, 3, 2, 224, 224], normalised as the model's spec says."""
    pixels = torch.from_numpy(reference["frames_uint8"]).float() / 255
    pixels = (pixels - torch.tensor(model.spec.mean)) / torch.tensor(model.spec.std)
    return pixels.permute(3, 0, 1, 2)[None]


@needs_deit
def test_real_deit_tiny_gives_its_logits(reference: dict[str, np.ndarray]) -> None:
    model = create_model("vivit_fe_ti", frames=2, net=NetConfig(tubelet=1), pretrained=str(DEIT)).eval()
    head = {k: v.float() for k, v in load_file(DEIT).items() if k.startswith("head.")}
    with torch.no_grad():
        features = model.encode(photographs(reference, model))[0]
    logits = F.linear(features, head["head.weight"], head["head.bias"])
    difference = logits.numpy() - reference["logits_fp64"]
    # The reference used fp32 matrices, the file holds them rounded to fp16. Plain timm in float64 on the same file is
    # 7.5e-4 (root mean square) and 3.3e-3 (largest of 2000) away; random rounding noise of that size gives the same.
    assert np.sqrt((difference**2).mean()) < 1e-3
    assert np.abs(difference).max() < 4e-3


@needs_deit
def test_real_deit_tiny_equals_plain_timm(reference: dict[str, np.ndarray]) -> None:
    model = create_model("vivit_fe_ti", frames=2, net=NetConfig(tubelet=1), pretrained=str(DEIT)).eval()
    plain = timm.create_model("deit_tiny_patch16_224").eval()
    plain.load_state_dict({k: v.float() for k, v in load_file(DEIT).items()})
    video = photographs(reference, model)
    with torch.no_grad():
        features = model.encode(video)[0]
        torch.testing.assert_close(plain.head(features), plain(video[0].transpose(0, 1)), atol=1e-5, rtol=1e-5)


@needs_deit
def test_real_deit_tiny_class_token_after_every_block(reference: dict[str, np.ndarray]) -> None:
    model = create_model("vivit_fe_ti", frames=2, net=NetConfig(tubelet=1), pretrained=str(DEIT)).eval()
    seen: list[Tensor] = []
    for block in model.encoder.blocks:
        block.register_forward_hook(lambda _m, _i, out: seen.append(out[:, 0]))
    with torch.no_grad():
        model.encode(photographs(reference, model))
    given = reference["cls_after_block"]
    for ours, theirs in zip(seen, given[-len(seen) :], strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1.5e-3)


def randomise(model: nn.Module) -> None:
    """Every parameter non-trivial, class tokens, positions and biases too."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.08 if parameter.ndim > 1 else 0.3)


def independent_logits(model: nn.Module, video: Tensor) -> Tensor:
    """The model's function rebuilt from its weights: Conv3d, timm's image blocks, torch.nn.TransformerEncoder."""
    state = {k: v.detach() for k, v in model.state_dict().items()}
    return linear(temporal(spatial(model, state, video), model, state), state, "head.label")


def spatial(model: nn.Module, state: dict[str, Tensor], video: Tensor) -> Tensor:
    kernel = state["encoder.patch_embed.proj.weight"]
    tubelet, patch, width = model.tubelet, kernel.shape[-1], kernel.shape[0]
    conv = nn.Conv3d(3, width, (tubelet, patch, patch), stride=(tubelet, patch, patch))
    conv.weight.data = kernel.reshape(width, 3, tubelet, patch, patch)
    conv.bias.data = state["encoder.patch_embed.proj.bias"]
    overrides = {"patch_size": patch, "embed_dim": width, "depth": len(model.encoder.blocks), "num_heads": 3}
    image = timm.create_model("vit_tiny_patch16_224", img_size=video.shape[-1], num_classes=0, **overrides).eval()
    own = {
        k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.") and "patch_embed" not in k
    }
    assert not image.load_state_dict(own, strict=False).unexpected_keys
    embedded = conv(video)
    frames = [embedded[:, :, i].flatten(2).transpose(1, 2) for i in range(embedded.shape[2])]
    tokens = [torch.cat([image.cls_token.expand(len(f), -1, -1), f], 1) + image.pos_embed for f in frames]
    return torch.stack([image.norm(image.blocks(t))[:, 0] for t in tokens], dim=1)


def temporal(features: Tensor, model: nn.Module, state: dict[str, Tensor]) -> Tensor:
    width, depth = features.shape[-1], len(model.temporal.blocks)
    layer = nn.TransformerEncoderLayer(
        width, 3, 4 * width, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    norm = nn.LayerNorm(width, eps=1e-6)
    encoder = nn.TransformerEncoder(layer, depth, norm=norm, enable_nested_tensor=False)
    names = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "linear1.": "mlp.fc1."}
    names |= {"linear2.": "mlp.fc2.", "norm1.": "norm1.", "norm2.": "norm2."}
    copied = {f"norm.{kind}": state[f"temporal.norm.{kind}"] for kind in ("weight", "bias")}
    for i in range(depth):
        for theirs, ours in names.items():
            for kind in ("weight", "bias"):
                copied[f"layers.{i}.{theirs}{kind}"] = state[f"temporal.blocks.{i}.{ours}{kind}"]
    encoder.load_state_dict(copied)
    cls = state["temporal.cls"].expand(len(features), -1, -1)
    # Training mode with dropout 0: the fused evaluation path of torch is another implementation once more.
    return encoder(torch.cat([cls, features], 1) + state["temporal.positions"])[:, 0]


def linear(features: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return F.linear(features, state[f"{name}.weight"], state[f"{name}.bias"])


@pytest.mark.parametrize("tubelet", [1, 2, 4])
def test_equals_an_independent_composition(tubelet: int) -> None:
    model = create_model("vivit_fe_nano", num_classes=7, frames=8, net=NetConfig(tubelet=tubelet)).eval()
    randomise(model)
    video = torch.randn(2, 3, 8, 64, 64)
    with torch.no_grad():
        ours, theirs = model(video), independent_logits(model, video)
    assert ours.std() > 0.1, "the comparison must not be between two constants"
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["central", "average"])
@pytest.mark.parametrize("tubelet", [2, 3])
def test_inflated_model_sees_a_still_clip_as_the_image_model_sees_the_frame(mode: str, tubelet: int) -> None:
    image = create_model("vivit_fe_nano", frames=1, net=NetConfig(tubelet=1)).eval()
    randomise(image)
    net = NetConfig(tubelet=tubelet, inflate=mode)
    video = create_model("vivit_fe_nano", frames=2 * tubelet, net=net).eval()
    report = load_weights(video, image.encoder.state_dict())
    frame = torch.randn(1, 3, 1, 64, 64)
    with torch.no_grad():
        expected = image.encode(frame)
        still = video.encode(frame.expand(-1, -1, 2 * tubelet, -1, -1))
        moving = video.encode(torch.randn(1, 3, 2 * tubelet, 64, 64))
    assert any("inflated" in note for note in report.notes)
    torch.testing.assert_close(still, expected.expand(-1, 2, -1), atol=1e-5, rtol=1e-5)
    assert (moving - expected).abs().max() > 0.01


def test_central_inflation_looks_at_the_central_frame_only() -> None:
    model = create_model("vivit_fe_nano", frames=3, net=NetConfig(tubelet=3, inflate="central")).eval()
    load_weights(model, create_model("vivit_fe_nano", frames=1, net=NetConfig(tubelet=1)).encoder.state_dict())
    video = torch.randn(1, 3, 3, 64, 64)
    outer, centre = video.clone(), video.clone()
    outer[:, :, [0, 2]] += 1
    centre[:, :, 1] += 1
    with torch.no_grad():
        assert torch.equal(model.encode(outer), model.encode(video))
        assert not torch.equal(model.encode(centre), model.encode(video))


@needs_deit
def test_positions_of_another_size_are_those_that_timm_resamples() -> None:
    model = create_model("vivit_fe_ti", size=112, pretrained=str(DEIT))
    given = load_file(DEIT)["pos_embed"].float()
    expected = timm.layers.resample_abs_pos_embed(given, new_size=[7, 7], num_prefix_tokens=1)
    torch.testing.assert_close(model.encoder.pos_embed.detach(), expected)
