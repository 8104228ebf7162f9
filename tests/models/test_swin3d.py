"""Video Swin against its authors' code, torchvision and, where it stands still, the image model that it starts from.

``tests/reference/swin3d.safetensors`` holds logits of the authors' backbone (revision in the metadata) with mean
pooling and a linear classifier, for the weights of `golden.fill`: even windows, shifts in all three directions, and
sides that need padding. ``tests/reference/layouts/swin3d_t_authors.json`` holds the names and shapes of full size.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from golden import fill, weights_for
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models.video import swin3d_b, swin3d_s, swin3d_t
from torchvision.models.video.swin_transformer import SwinTransformer3d

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import card, create_model, load_weights
from kinelite.models.registry import Order
from kinelite.models.swin3d import VideoSwin, build

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def small(**net: Any) -> VideoSwin:
    order = Order(card("swin3d_t"), {"label": 5}, 16, 32, NetConfig(**net))
    return build(order, width=24, depths=(2, 2), heads=(2, 4), drop_path=0.1).eval()


def on_meta(name: str = "swin3d_t") -> Any:
    with torch.device("meta"):
        return create_model(name)


def authors_name(name: str) -> str:
    name = name.removeprefix("encoder.")
    name = re.sub(r"^features\.(\d)\.(\d+)\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.{m[2]}.", name)
    name = re.sub(r"^features\.(\d)\.", lambda m: f"layers.{int(m[1]) // 2}.downsample.", name)
    name = name.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
    return name.replace("head.label.", "cls_head.fc_cls.") if name.startswith("head.") else f"backbone.{name}"


def published_shapes() -> dict[str, Tensor]:
    shapes = json.loads((REFERENCE / "layouts" / "swin3d_t_authors.json").read_text())["shapes"]
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_logits_of_the_authors_code_through_their_names() -> None:
    model, reference = small(), load_file(REFERENCE / "swin3d.safetensors")
    state = {authors_name(name): tensor for name, tensor in fill(small()).items()}
    report = load_weights(model, state)
    assert (report.loaded, report.new) == (len(state), ())
    generator = torch.Generator().manual_seed(0)
    for name, shape in (("16x64", (2, 3, 16, 64, 64)), ("20x36", (1, 3, 20, 36, 44)), ("5x30", (1, 3, 5, 30, 30))):
        with torch.no_grad():
            found = model(torch.randn(shape, generator=generator))
        torch.testing.assert_close(found, reference[name], atol=1e-4, rtol=0)
    assert reference["16x64"][0].sub(reference["16x64"][1]).abs().max() > 0.1


@pytest.mark.parametrize("shape", [(2, 3, 8, 64, 64), (2, 3, 20, 34, 40)])
def test_logits_and_gradients_of_torchvision(shape: tuple[int, ...]) -> None:
    theirs = SwinTransformer3d([2, 4, 4], 24, [2, 2], [2, 4], [8, 7, 7], num_classes=5).eval()
    filled = {k: weights_for(k, v.shape) if v.is_floating_point() else v for k, v in theirs.state_dict().items()}
    theirs.load_state_dict(filled)
    ours = small()
    report = load_weights(ours, filled)
    assert "names of torchvision" in report.notes
    video = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found, expected = ours(video), theirs(video)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    found.square().sum().backward()
    expected.square().sum().backward()
    gradients = {k.removeprefix("encoder.").replace(".label", ""): p.grad for k, p in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-4, rtol=1e-3)


def image_model() -> Any:
    model = timm.models.swin_transformer.SwinTransformer(
        img_size=56, patch_size=4, embed_dim=24, depths=(2, 2), num_heads=(2, 4), window_size=7, num_classes=0
    ).eval()
    fill(model)
    return model


@pytest.mark.parametrize("frames", [2, 16, 32])
def test_image_weights_on_a_clip_that_stands_still_give_the_image_model(frames: int) -> None:
    """Biases by distance in space are the same at each distance in time, so equal frames are one frame, seen often."""
    image, model = image_model(), small()
    report = load_weights(model, image.state_dict())
    assert (report.kind, report.new) == ("image", ("head",))
    still = torch.randn(2, 3, 1, 56, 56).expand(-1, -1, frames, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(still), image(still[:, :, 0]), atol=1e-4, rtol=0)


def test_image_weights_by_their_authors_names_are_the_same() -> None:
    state = image_model().state_dict()
    theirs = {k.replace("layers.1.downsample", "layers.0.downsample"): v for k, v in state.items()}
    theirs["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)
    theirs["head.weight"] = torch.zeros(1000, 48)
    first, second = small(), small()
    assert load_weights(first, state).loaded == load_weights(second, theirs).loaded
    ours, others = first.encoder.state_dict(), second.encoder.state_dict()
    assert all(torch.equal(ours[name], others[name]) for name in ours)
    with pytest.raises(UsageError, match="1 of another shape"):
        load_weights(small(), theirs | {"norm.weight": torch.zeros(3)})


@pytest.mark.parametrize(
    ("name", "published"), [("swin3d_t", swin3d_t), ("swin3d_s", swin3d_s), ("swin3d_b", swin3d_b)]
)
def test_torchvisions_checkpoints_of_full_size_load_whole(name: str, published: Any) -> None:
    with torch.device("meta"):
        state = published().state_dict()
    report = load_weights(on_meta(name), state)
    tables = [k for k in state if k.endswith("relative_position_index")]
    assert (report.loaded, report.new) == (len(state) - len(tables), ())


def test_the_authors_checkpoint_of_full_size_loads_whole() -> None:
    state = published_shapes()
    report = load_weights(on_meta(), state)
    assert report.new == ()
    assert report.loaded == len([k for k in state if not k.endswith("relative_position_index")])


def test_damaged_checkpoints_are_refused_with_what_differs() -> None:
    state, name = published_shapes(), "backbone.layers.2.blocks.5.attn.relative_position_bias_table"
    for damaged, said in (
        ({k: v for k, v in state.items() if k != name}, "1 in the model but not in the file"),
        (state | {"backbone.layers.4.blocks.0.norm1.bias": torch.empty(9, device="meta")}, "1 in the file but not"),
        (state | {name: state[name][:-1]}, "1 of another shape"),
    ):
        with pytest.raises(UsageError, match=said):
            load_weights(on_meta(), damaged)


def test_stochastic_depth_and_dropout_are_the_authors_unless_asked() -> None:
    assert [b.stochastic_depth.p for b in small().encoder.features[2]] == pytest.approx([0.2 / 3, 0.1])
    assert small().head.dropout == 0.5
    assert [b.stochastic_depth.p for b in small(drop_path=0.3).encoder.features[2]] == pytest.approx([0.2, 0.3])
    assert small(dropout=0.0).head.dropout == 0.0


def test_index_tables_are_not_saved_with_the_weights() -> None:
    assert not [name for name in small().state_dict() if "index" in name]
