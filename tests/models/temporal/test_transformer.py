"""The transformer over time: its start, and its last layer for the class token alone against timm's own block."""

from __future__ import annotations

import copy

import pytest
import torch
from golden import fill
from timm.models.vision_transformer import Block

from kinelite.models.class_token import ClassTokenBlock
from kinelite.models.temporal.positions import POSITION_STD
from kinelite.models.temporal.transformer import TemporalTransformer


def test_start_of_training_is_that_of_scenic_but_for_larger_positions() -> None:
    torch.manual_seed(0)
    transformer = TemporalTransformer(256, heads=4, layers=1, tubelets=16)
    qkv = transformer.blocks[0].attn.qkv.weight
    assert not transformer.cls.any()
    assert transformer.positions.std().item() == pytest.approx(POSITION_STD, rel=0.1)
    assert not transformer.blocks[0].attn.qkv.bias.any()
    # Xavier bound of each 256 x 256 projection; over the fused 768 x 256 matrix it would be smaller.
    assert qkv.abs().max().item() == pytest.approx((6 / 512) ** 0.5, rel=0.01)


def test_mlp_width_is_exact() -> None:
    with torch.device("meta"):
        transformer = TemporalTransformer(1408, heads=16, layers=1, tubelets=2, mlp_width=6144)
    assert transformer.blocks[0].mlp.fc1.out_features == 6144


def with_all_tokens(ours: TemporalTransformer) -> TemporalTransformer:
    theirs = copy.deepcopy(ours)
    theirs.blocks[-1].__class__ = Block
    return theirs


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("gelu", ["none", "tanh"])
def test_last_layer_gives_the_output_and_gradients_of_all_tokens(layers: int, gelu: str) -> None:
    ours = TemporalTransformer(24, heads=3, layers=layers, tubelets=6, mlp_width=40, gelu=gelu)
    fill(ours)
    theirs = with_all_tokens(ours)
    assert type(ours.blocks[-1]) is ClassTokenBlock
    assert list(ours.state_dict()) == list(theirs.state_dict())
    features = [torch.randn(4, 6, 24, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in "ab"]
    outputs = [part(given) for part, given in zip((ours, theirs), features, strict=True)]
    assert outputs[0].std() > 0.1
    torch.testing.assert_close(*outputs, atol=1e-6, rtol=1e-6)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(features[0].grad, features[1].grad, atol=1e-5, rtol=1e-5)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-4, rtol=1e-5, msg=name)


def test_stochastic_depth_drops_the_same_clips_as_with_all_tokens() -> None:
    ours = TemporalTransformer(24, heads=3, layers=3, tubelets=6, drop_path=0.5)
    fill(ours)
    theirs, features, outputs = with_all_tokens(ours), torch.randn(8, 6, 24), []
    for part in (ours, theirs):
        torch.manual_seed(5)
        outputs.append(part(features))
    torch.testing.assert_close(*outputs, atol=1e-6, rtol=1e-6)


def test_no_other_token_is_computed_in_the_last_layer() -> None:
    transformer, seen = TemporalTransformer(24, heads=3, layers=2, tubelets=6), []
    for block in transformer.blocks:
        block.mlp.register_forward_hook(lambda _m, given, _out: seen.append(given[0].shape[1]))
    transformer(torch.randn(2, 6, 24))
    assert seen == [7, 1]
