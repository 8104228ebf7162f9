"""TimeSformer against its authors' code, transformers and, where it stands still, the image model that it starts from.

``tests/reference/timesformer.safetensors`` holds logits of the authors' `VisionTransformer` (revision in the metadata)
for the weights of `golden.fill`: 4 frames of 32 pixels, and 6 of 48, for which that code resizes the same weights.
``tests/reference/layouts/timesformer_authors.json`` holds the names and shapes of its full size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from golden import fill
from safetensors.torch import load_file
from torch import Tensor, nn

from kinelite.config import NetConfig, OptimConfig
from kinelite.errors import UsageError
from kinelite.models import card, create_model, load_weights
from kinelite.models.registry import Order
from kinelite.models.timesformer import DividedBlock, TimeSformer, build
from kinelite.train.optim import parameter_groups

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
SCHEMES = ["divided", "joint", "space"]


def small(scheme: Any = "divided", frames: int = 4, size: int = 32) -> TimeSformer:
    order = Order(card("timesformer"), {"label": 5}, frames, size, NetConfig(attention=scheme))
    return build(order, width=48, heads=3, depth=2).eval()


def as_published(model: nn.Module) -> dict[str, Tensor]:
    names = {name: name.removeprefix("encoder.").replace("head.label.", "head.") for name in model.state_dict()}
    return {f"model.{names[name]}": tensor for name, tensor in model.state_dict().items()}


def on_meta() -> Any:
    with torch.device("meta"):
        return create_model("timesformer", frames=8)


def published_shapes() -> dict[str, Tensor]:
    shapes = json.loads((REFERENCE / "layouts" / "timesformer_authors.json").read_text())["shapes"]
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_logits_of_the_authors_code_through_their_names(scheme: str) -> None:
    source, reference = small(scheme), load_file(REFERENCE / "timesformer.safetensors")
    fill(source)
    state, generator = as_published(source), torch.Generator().manual_seed(0)
    same, larger = small(scheme), small(scheme, frames=6, size=48)
    report = load_weights(same, state)
    assert (report.loaded, report.new) == (len(state), ())
    assert same.spec.mean == (0.45, 0.45, 0.45)
    notes = load_weights(larger, state).notes
    assert any("2 x 2 to 3 x 3" in note for note in notes)
    with torch.no_grad():
        found = same(torch.randn(2, 3, 4, 32, 32, generator=generator))
        resized = larger(torch.randn(1, 3, 6, 48, 48, generator=generator))
    torch.testing.assert_close(found, reference[scheme], atol=1e-4, rtol=0)
    torch.testing.assert_close(resized, reference[f"{scheme}_6x48"], atol=1e-4, rtol=0)
    assert (found[0] - found[1]).abs().max() > 0.1


@pytest.mark.parametrize("scheme", ["divided", "joint"])
def test_equal_to_transformers(scheme: str) -> None:
    """Its space-only variant gives one row of logits per frame, so it is left out."""
    transformers = pytest.importorskip("transformers")
    config = transformers.TimesformerConfig(
        image_size=32, num_frames=4, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=192,
        num_labels=5, attention_type=f"{scheme}_space_time",
    )  # fmt: skip
    torch.manual_seed(0)
    theirs, ours = transformers.TimesformerForVideoClassification(config).eval(), small(scheme)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    report = load_weights(ours, theirs.state_dict())
    assert report.loaded == len(theirs.state_dict())
    assert "names of transformers" in report.notes
    video = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(video), theirs(video.transpose(1, 2)).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_image_weights_on_a_clip_that_stands_still_give_the_image_model(scheme: str) -> None:
    """At the start attention over time adds nothing; joint attention sees each patch as often as any other, but the
    class token only once, so its features differ."""
    image = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=16, embed_dim=48, depth=2, num_heads=3, num_classes=7
    ).eval()
    fill(image)
    model = small(scheme)
    report = load_weights(model, image.state_dict())
    assert report.kind == "image"
    assert set(report.new) == {"head"} | ({"time_embed"} if scheme != "space" else set()) | (
        {"temporal_fc"} if scheme == "divided" else set()
    )
    still = torch.randn(2, 3, 1, 32, 32).expand(-1, -1, 4, -1, -1)
    with torch.no_grad():
        found = model.forward_features(still)
        expected = image.forward_head(image.forward_features(still[:, :, 0]), pre_logits=True)
    assert torch.allclose(found, expected, atol=1e-4) is (scheme != "joint")


def test_attention_over_time_starts_as_a_copy_and_adds_nothing() -> None:
    model = small()
    image = {k: v for k, v in fill(small("space")).items() if not k.startswith("head.")}
    load_weights(model, {k.removeprefix("encoder."): v for k, v in image.items()})
    for block in model.encoder.blocks:
        assert torch.equal(block.temporal_attn.qkv.weight, block.attn.qkv.weight)
        assert torch.equal(block.temporal_norm1.bias, block.norm1.bias)
        assert not block.temporal_fc.weight.any()
        assert not block.temporal_fc.bias.any()
    assert not model.encoder.time_embed.any()


def test_stochastic_depth_rises_to_a_tenth_and_spares_the_layer_behind_attention_over_time() -> None:
    assert [b.drop_path for b in create_on_meta().encoder.blocks] == pytest.approx([0.1 * i / 11 for i in range(12)])
    block = DividedBlock(48, 3, 1 - 1e-9).train()
    nn.init.constant_(block.temporal_fc.bias, 2.0)
    tokens = torch.randn(2, 1 + 4 * 3, 48)
    moved = block(tokens, 3) - tokens
    torch.testing.assert_close(moved[:, 1:], torch.full_like(moved[:, 1:], 2.0))
    assert not moved[:, 0].any()


def create_on_meta() -> Any:
    with torch.device("meta"):
        return create_model("timesformer")


def test_published_checkpoint_of_full_size_loads_whole() -> None:
    state = published_shapes()
    report = load_weights(on_meta(), state)
    assert (report.loaded, report.new) == (len(state), ())
    assert "names of TimeSformer's authors" in report.notes
    stripped = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    assert load_weights(on_meta(), stripped).loaded == len(state)


def test_damaged_checkpoints_are_refused_with_what_differs() -> None:
    state, name = published_shapes(), "model.blocks.3.temporal_attn.qkv.weight"
    for damaged, said in (
        ({k: v for k, v in state.items() if k != name}, "1 in the model but not in the file"),
        (state | {"model.blocks.12.norm1.bias": torch.empty(768, device="meta")}, "1 in the file but not"),
        (state | {name: state[name][:-1]}, "1 of another shape"),
    ):
        with pytest.raises(UsageError, match=said):
            load_weights(on_meta(), damaged)


def test_what_cannot_be_taken_is_refused_with_what_can() -> None:
    with pytest.raises(UsageError, match="Nearest: 96 or 112"):
        create_model("timesformer", size=100)
    with pytest.raises(UsageError, match="Nearest: 16"):
        create_model("timesformer", size=10)
    with pytest.raises(UsageError, match=r"it takes net\.attention"):
        create_model("timesformer", net=NetConfig(tubelet=2))
    with pytest.raises(UsageError, match="built for 4 frames of 32 x 32 pixels and got 8 of 32 x 48"):
        small()(torch.zeros(1, 3, 8, 32, 48))


def test_published_counts() -> None:
    counts = {}
    for frames, classes in ((8, 400), (16, 400), (16, 174)):
        with torch.device("meta"):
            model = create_model("timesformer", frames=frames, num_classes=classes)
        counts[frames, classes] = sum(p.numel() for p in model.parameters())
    assert counts == {(8, 400): 121_566_352, (16, 400): 121_572_496, (16, 174): 121_398_702}


@pytest.mark.parametrize("scheme", ["joint", "space"])
def test_the_other_schemes_train(scheme: str) -> None:
    model = small(scheme).train()
    model(torch.randn(2, 3, 4, 32, 32)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", ["encoder.time_embed", "encoder.pos_embed", "encoder.cls_token"])
def test_positions_are_not_decayed(name: str) -> None:
    """As in the authors' code."""
    model = small()
    groups = parameter_groups(model, OptimConfig(weight_decay=0.1))
    parameter = dict(model.named_parameters())[name]
    assert [g["weight_decay"] for g in groups if any(parameter is p for p in g["params"])] == [0.0]
