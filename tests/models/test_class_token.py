"""The last block for the class token alone: timm's own block is the reference."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from golden import fill

from kinelite.models.class_token import ClassTokenBlock, keep_class_token

PLAIN = {
    "vit_tiny_patch16_224": {},
    "vit_small_patch14_dinov2": {"depth": 2},
    "vit_small_patch14_reg4_dinov2": {"depth": 2},
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("training", [False, True])
def test_same_features_and_gradients_as_timm(name: str, training: bool) -> None:
    patch = 14 if "patch14" in name else 16
    options = {"num_classes": 0, "img_size": 4 * patch, "qkv_bias": True, **PLAIN[name]}
    ours = timm.create_model(name, **options).double().train(training)
    fill(ours)
    theirs = copy.deepcopy(ours)
    names = list(ours.state_dict())
    assert keep_class_token(ours)
    assert list(ours.state_dict()) == names
    images = torch.randn(3, 3, 4 * patch, 4 * patch, dtype=torch.double)
    a, b = ours(images), theirs(images)
    torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)
    for features in (a, b):
        features.square().sum().backward()
    for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-9, rtol=1e-7, msg=key)


def test_without_bias_and_with_norms_of_query_and_key() -> None:
    block = timm.models.vision_transformer.Block(32, 4, qkv_bias=False, qk_norm=True, init_values=0.5).eval()
    fill(block)
    tokens = torch.randn(2, 7, 32)
    expected = block(tokens)[:, :1]
    block.__class__ = ClassTokenBlock
    torch.testing.assert_close(block(tokens), expected, atol=1e-5, rtol=1e-5)
    mask = torch.zeros(7, 7).masked_fill(torch.ones(7, 7).triu(1).bool(), float("-inf"))
    masked = super(ClassTokenBlock, block).forward(tokens, mask)[:, :1]
    torch.testing.assert_close(block(tokens, attn_mask=mask), masked)


@pytest.mark.parametrize(
    "name", ["deit_tiny_distilled_patch16_224", "vit_base_patch16_siglip_224", "eva02_tiny_patch14_224"]
)
def test_encoders_that_use_more_than_the_class_token_stay_as_they_are(name: str) -> None:
    with torch.device("meta"):
        encoder = timm.create_model(name, num_classes=0)
    before = type(encoder.blocks[-1])
    assert not keep_class_token(encoder)
    assert type(encoder.blocks[-1]) is before


def test_average_pooling_keeps_all_tokens() -> None:
    assert not keep_class_token(timm.create_model("vit_tiny_patch16_224", num_classes=0, global_pool="avg"))
