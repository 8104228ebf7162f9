"""A transformer over time that starts from VideoMAE: against transformers' own layers, and the two projects' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import create_model, save_weights
from kinelite.models.temporal.start import load_temporal

DEPTH, WIDTH = 4, 96


def video_mae(kind: Any = VideoMAEForVideoClassification, width: int = WIDTH) -> Any:
    """As small as it gets, at the heads and widths of vivit_fe_nano, and with biases that show."""
    torch.manual_seed(0)
    size = {"image_size": 32, "num_frames": 4, "hidden_size": width, "num_attention_heads": 3}
    decoder = {"decoder_num_hidden_layers": 1, "decoder_hidden_size": 24, "decoder_num_attention_heads": 2}
    model = kind(VideoMAEConfig(num_hidden_layers=DEPTH, intermediate_size=4 * width, **size, **decoder)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def on_the_hub(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of files on the hub, which transformers renames as it reads them."""
    names = {".query.bias": ".q_bias", ".value.bias": ".v_bias"}
    return {_replaced(name, names): tensor for name, tensor in state.items()}


def by_the_authors(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The names of the authors' code, written out from its Block and Attention."""
    result = {"patch_embed.proj.weight": torch.zeros(WIDTH, 3, 2, 16, 16)}
    result["decoder.blocks.0.norm1.weight"] = torch.ones(24)
    for i in range(DEPTH):
        theirs, ours = f"videomae.encoder.layer.{i}.", f"{prefix}blocks.{i}."
        parts = [state[f"{theirs}attention.attention.{word}.weight"] for word in ("query", "key", "value")]
        result[f"{ours}attn.qkv.weight"] = torch.cat(parts)
        result[f"{ours}attn.q_bias"] = state[f"{theirs}attention.attention.query.bias"]
        result[f"{ours}attn.v_bias"] = state[f"{theirs}attention.attention.value.bias"]
        for kind in ("weight", "bias"):
            result[f"{ours}attn.proj.{kind}"] = state[f"{theirs}attention.output.dense.{kind}"]
            result[f"{ours}mlp.fc1.{kind}"] = state[f"{theirs}intermediate.dense.{kind}"]
            result[f"{ours}mlp.fc2.{kind}"] = state[f"{theirs}output.dense.{kind}"]
            result[f"{ours}norm1.{kind}"] = state[f"{theirs}layernorm_before.{kind}"]
            result[f"{ours}norm2.{kind}"] = state[f"{theirs}layernorm_after.{kind}"]
    return result


def _replaced(name: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        name = name.replace(old, new)
    return name


def nano(layers: int = 2, **net: Any) -> Any:
    return create_model("vivit_fe_nano", num_classes=3, frames=8, net=NetConfig(temporal_layers=layers, **net))


def test_blocks_compute_what_the_last_layers_of_transformers_do() -> None:
    theirs, model, tokens = video_mae(), nano(), torch.randn(2, 7, WIDTH)
    said = load_temporal(model, theirs.state_dict())
    assert "blocks 3 to 4 of 4 of memory (names of VideoMAE of transformers)" in said
    first, last = theirs.videomae.encoder.layer[2:]
    with torch.no_grad():
        ours, wanted = model.temporal.blocks[0](tokens), first(tokens)
        assert (wanted - tokens).abs().max() > 0.1
        torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.temporal.blocks[1](ours), last(wanted)[:, :1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["pretrained", "hub", "authors, pretrained", "authors, fine-tuned"])
def test_every_projects_names_give_the_same_blocks(kind: str) -> None:
    state, wanted, model = video_mae().state_dict(), nano(), nano()
    load_temporal(wanted, state)
    if kind == "pretrained":
        kept = {name: tensor for name, tensor in state.items() if "classifier" not in name and "fc_norm" not in name}
        state = {**video_mae(VideoMAEForPreTraining).state_dict(), **kept}
    elif kind == "hub":
        state = on_the_hub(state)
    else:
        state = by_the_authors(state, "encoder." if kind.endswith("pretrained") else "")
    load_temporal(model, state)
    blocks = [part.temporal.blocks.state_dict() for part in (model, wanted)]
    assert [name for name in blocks[1] if not torch.equal(blocks[0][name], blocks[1][name])] == []


def test_what_videomae_does_not_have_stays_new() -> None:
    torch.manual_seed(7)
    model = nano()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_temporal(model, video_mae().state_dict())
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.rpartition(".blocks.")[0] for name in changed} == {"temporal"}
    assert len(changed) == len(model.temporal.blocks.state_dict())


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "videomae.safetensors"
    save_weights(path, video_mae().state_dict())
    assert str(path) in load_temporal(nano(1), path)


def damaged(name: str) -> dict[str, Tensor]:
    state = video_mae().state_dict()
    del state[f"videomae.encoder.layer.3.{name}"]
    return state


@pytest.mark.parametrize(
    ("model", "state", "said"),
    [
        (lambda: nano(5), lambda: video_mae().state_dict(), "has 4 blocks and the transformer over time 5"),
        (nano, lambda: video_mae(width=48).state_dict(), "is 48 wide and the transformer over time 96"),
        (nano, lambda: nano().state_dict(), "are not those of VideoMAE"),
        (nano, lambda: {}, "such as none"),
        (nano, lambda: damaged("attention.attention.query.weight"), "not whole"),
        (nano, lambda: damaged("output.dense.bias"), "1.mlp.fc2.bias"),
        (lambda: nano(None, temporal="mean"), lambda: video_mae().state_dict(), "this model has none"),
        (lambda: create_model("x3d_xs"), lambda: video_mae().state_dict(), "this model has none"),
    ],
)
def test_what_does_not_fit_is_told_and_changes_nothing(model: Any, state: Any, said: str) -> None:
    made = model()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    with pytest.raises(UsageError) as error:
        load_temporal(made, state())
    assert said in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())
