"""ViViT-FE B, L, H, g against Scenic's, and the checkpoints that Scenic published.

``vivit_scenic.safetensors`` was made by running Scenic's `SpaceTimeViViT`, unchanged, in Flax on a small configuration
(its metadata tells which) with the parameters of `flax_weights`. ``layouts/vivit_scenic.json`` holds Flax's names and
shapes of that model and of the three published sizes, from `jax.eval_shape` of the same class.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import weights_for
from safetensors.torch import load_file
from torch import Tensor

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import card, create_model, load_weights
from kinelite.models.registry import Order
from kinelite.models.vivit import ViViTFE, build

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
SHAPES = json.loads((REFERENCE / "layouts" / "vivit_scenic.json").read_text())


def flax_weights(name: str, prefix: str = "optimizer/target/") -> dict[str, Tensor]:
    """Values by Flax's name, spread by the fan-in that Flax's shapes have."""
    found = {}
    for key, shape in SHAPES[name].items():
        draw = (weights_for(key, (1, math.prod(shape))) * math.prod(shape) ** 0.5).reshape(shape)
        if key.endswith("kernel"):
            heads = key.split("/")[-2] in ("query", "key", "value")
            draw = draw / (shape[0] if heads else math.prod(shape[:-1])) ** 0.5
        elif key.endswith("scale"):
            draw = 1 + 0.1 * draw
        else:
            draw = draw * (0.1 if key.endswith("bias") else 0.5)
        found[prefix + key] = draw
    return found


def small(frames: int = 8, size: int = 32, layers: int = 3, **heads: int) -> ViViTFE:
    """What `vivit_fe_b` is, narrow and shallow as the golden."""
    order = Order(card("vivit_fe_b"), heads or {"label": 7}, frames, size, NetConfig())
    narrow: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2}
    name = "vit_base_patch16_224.augreg_in21k"
    return build(order, name, tubelet=2, layers=layers, scenic=True, **narrow).eval()


@pytest.mark.parametrize("prefix", ["optimizer/target/", "params/", ""])
def test_gives_the_logits_of_scenic(prefix: str) -> None:
    golden, model = load_file(REFERENCE / "vivit_scenic.safetensors"), small()
    rest = {"global_step": torch.tensor(7), "rng": torch.zeros(2), "model_state": torch.zeros(0)} if prefix else {}
    report = load_weights(model, flax_weights("small", prefix) | rest)
    assert (report.kind, report.new, report.loaded) == ("model", (), len(model.state_dict()))
    assert "names of Scenic ViViT" in report.notes
    with torch.no_grad():
        torch.testing.assert_close(model(golden["video"].float()), golden["logits"], atol=1e-5, rtol=1e-5)


def test_names_of_flax_before_linen_are_the_same_weights() -> None:
    older = {
        name.replace("MultiHeadDotProductAttention_0", "MultiHeadDotProductAttention_1")
        .replace("LayerNorm_1", "LayerNorm_2")
        .replace("MlpBlock_0", "MlpBlock_3"): tensor
        for name, tensor in flax_weights("small", "optimizer/target/params/").items()
    }
    one, other = small(), small()
    load_weights(one, flax_weights("small"))
    load_weights(other, older)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("name", "checkpoint", "layers", "heads"),
    [
        ("vivit_fe_b", "base_k400", 4, {"label": 400}),
        ("vivit_fe_l", "large_k400", 24, {"label": 400}),
        ("vivit_fe_l", "large_epic", 4, {"noun": 300, "verb": 97}),
    ],
)
def test_published_checkpoints_fill_every_tensor(name: str, checkpoint: str, layers: int, heads: dict) -> None:
    """On the meta device, which has shapes alone; the small model has shown the values."""
    with torch.device("meta"):
        model = create_model(name, heads=heads, net=NetConfig(temporal_layers=layers))
        state = {f"optimizer/target/{key}": torch.empty(shape) for key, shape in SHAPES[checkpoint].items()}
    report = load_weights(model, state)
    assert (report.new, report.loaded) == ((), len(model.state_dict()))


def test_the_depth_over_time_is_read_from_the_checkpoint() -> None:
    with pytest.raises(UsageError, match=r"3 temporal layers and the model has 2.*--net.temporal-layers 3 "):
        load_weights(small(layers=2), flax_weights("small"))


def test_a_model_without_a_transformer_over_time_is_told_so() -> None:
    model = create_model("vivit_fe_nano", num_classes=7, net=NetConfig(temporal="mean"))
    with pytest.raises(UsageError, match=r"has a transformer over time and the model has none: leave net.temporal out"):
        load_weights(model, flax_weights("small"))


def test_positions_are_fitted_to_frames_and_size() -> None:
    model = small(frames=16, size=64)
    report = load_weights(model, flax_weights("small"))
    assert "temporal positions interpolated from 4 to 8 tubelets" in report.notes
    assert "spatial positions resampled from 4 to 16 patches" in report.notes
    given = flax_weights("small", "")
    ends = given["TemporalTransformer/posembed_input/pos_embedding"][:, [0, 1, -1]]
    torch.testing.assert_close(model.temporal.positions.detach()[:, [0, 1, -1]], ends)
    cls = given["SpatialTransformer/posembed_input/pos_embedding"][:, 0]
    torch.testing.assert_close(model.encoder.pos_embed.detach()[:, 0], cls)


def epic() -> dict[str, Tensor]:
    state = flax_weights("small")
    state["optimizer/target/output_projection/kernel"] = torch.randn(24, 397)
    state["optimizer/target/output_projection/bias"] = torch.arange(397.0)
    return state


def test_epic_kitchens_has_nouns_before_verbs() -> None:
    model = small(verb=97, noun=300)
    state = epic()
    assert load_weights(model, state).new == ()
    assert torch.equal(model.head["noun"].bias.detach(), torch.arange(300.0))
    assert torch.equal(model.head["verb"].bias.detach(), torch.arange(300.0, 397))
    kernel = state["optimizer/target/output_projection/kernel"]
    assert torch.equal(model.head["verb"].weight.detach(), kernel[:, 300:].T)


def test_epic_kitchens_for_other_tasks_says_how_its_classifier_is_kept() -> None:
    report = load_weights(small(), epic())
    assert report.new == ("head",)
    assert any("300 nouns and 97 verbs: heads={'noun': 300, 'verb': 97}" in note for note in report.notes)


def test_damaged_checkpoints_are_told() -> None:
    model, whole = small(), flax_weights("small")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    block = "optimizer/target/TemporalTransformer/encoderblock_1/"
    dense, key = f"{block}MlpBlock_0/Dense_0/kernel", f"{block}MultiHeadDotProductAttention_0/key/kernel"
    damage = {
        "in the model but not in the file": {k: v for k, v in whole.items() if k != dense},
        "in the file but not in the model": whole | {f"{block}Another_0/kernel": torch.zeros(2, 2)},
        "of another shape": whole | {dense: whole[dense][:, :5]},
        "not whole": {k: v for k, v in whole.items() if k != key},
        "of another size": whole | {key: whole[key][:5]},
    }
    for said, state in damage.items():
        with pytest.raises(UsageError, match=said):
            load_weights(model, state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_unfactorised_vivit_of_transformers_is_refused() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.VivitConfig(
        image_size=32, num_frames=8, hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=48
    )
    state = transformers.VivitForVideoClassification(config).state_dict()
    with pytest.raises(UsageError, match=r"unfactorised ViViT.*VivitForVideoClassification.*--pretrained k400"):
        load_weights(small(), state)


@pytest.mark.parametrize(("axes", "said"), [(5, "unfactorised ViViT"), (4, "image transformer under Flax's names")])
def test_other_transformers_of_scenic_are_refused(axes: int, said: str) -> None:
    state = {
        "optimizer/target/cls": torch.zeros(1, 1, 24),
        "optimizer/target/embedding/kernel": torch.zeros((2, 16, 16, 3, 24)[-axes:]),
        "optimizer/target/Transformer/encoderblock_0/LayerNorm_0/scale": torch.ones(24),
    }
    with pytest.raises(UsageError, match=said):
        load_weights(small(), state)


def test_image_weights_of_timm_still_fit() -> None:
    """The GELU by tanh is no change of shape: the card's image weights must be offered."""
    with torch.device("meta"):
        model = create_model("vivit_fe_b")
    assert not model.plan.overrides
    assert model.plan.activation == "gelu_tanh"


def test_the_small_models_keep_the_exact_gelu() -> None:
    model = create_model("vivit_fe_nano", frames=4, num_classes=2)
    assert model.encoder.blocks[0].mlp.act.approximate == "none"
    assert model.temporal.blocks[0].mlp.act.approximate == "none"
