"""I3D-BERT against an independent 3-D ResNet joined to the authors' BERT, and its start from image weights.

``tests/reference/i3d_bert.safetensors``: logits of PyTorchVideo's ``create_resnet`` (stem 7 x 7 x 7 of stride 2, every
conv_b 3 x 3 x 3, no head), a mean over space, Linear 2048-512, L2 norm as in the authors' ``rgb_I3D64f_bert2``, their
``BERT2(512, 4, hidden=512, n_layers=1, attn_heads=8)`` without ``.cuda()``, and Linear 512-8; with the weights of
`golden.fill` for our names and the clips of seed 7, 8 frames of 64 pixels. Commits are in the file.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from golden import fill
from safetensors.torch import load_file
from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.models import create_model, load_weights
from kinelite.models.bert_pooling import BertPooling, SpreadNorm
from kinelite.models.i3d_bert import I3DBert

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


@pytest.fixture
def pooling() -> BertPooling:
    pooling = BertPooling(32, heads=8, steps=5)
    fill(pooling)
    return pooling


def clips(frames: int = 8) -> Tensor:
    return torch.randn(2, 3, frames, 64, 64, generator=torch.Generator().manual_seed(7))


def small(frames: int = 8, classes: int = 8) -> I3DBert:
    model = create_model("i3d_bert", num_classes=classes, frames=frames, size=64).eval()
    assert isinstance(model, I3DBert)
    return model


def test_logits_of_the_reference() -> None:
    model = small()
    fill(model)
    with torch.no_grad():
        found = model(clips())
    torch.testing.assert_close(found, load_file(REFERENCE / "i3d_bert.safetensors")["logits"], atol=1e-4, rtol=1e-4)


def test_a_still_clip_is_seen_as_the_image() -> None:
    """In the middle of a long still clip, where no padding in time is seen, inflation changes nothing."""
    torch.manual_seed(0)
    image, model = timm.create_model("resnet50", num_classes=10).eval(), small()
    fill(image)
    report = load_weights(model, image.state_dict())
    frame = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        still = model.encoder.forward_features(frame[:, :, None].expand(-1, -1, 80, -1, -1))
        expected = image.forward_features(frame)
    assert set(report.new) == {"reduce", "bert", "head"}
    assert any("inflated" in note for note in report.notes)
    torch.testing.assert_close(still[:, :, 20], expected, atol=1e-4, rtol=1e-4)
    assert (still[:, :, 0] - expected).abs().max() > 1e-3


def test_every_spatial_kernel_is_inflated_and_only_the_stem_strides_in_time() -> None:
    with torch.device("meta"):
        convs = {n: m for n, m in create_model("i3d_bert").encoder.named_modules() if isinstance(m, nn.Conv3d)}
    assert len(convs) == 53
    assert all(len(set(m.kernel_size)) == 1 for m in convs.values())
    assert [n for n, m in convs.items() if m.stride[0] != 1] == ["conv1"]


def test_norm_has_the_unbiased_spread_outside_the_root() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    spread = (((x - 3) ** 2).sum() / 3).sqrt() + 1e-6
    torch.testing.assert_close(SpreadNorm(4)(x), (x - 3) / spread)


def test_length_of_the_steps_does_not_matter(pooling: BertPooling) -> None:
    steps = torch.randn(2, 5, 32)
    pooling.eval()
    torch.testing.assert_close(pooling(steps * 7), pooling(steps))
    assert not torch.allclose(pooling(steps.flip(1)), pooling(steps), atol=1e-3), "their order does"


def test_steps_are_hidden_from_attention_in_training_only(pooling: BertPooling) -> None:
    torch.manual_seed(0)
    tokens = torch.randn(4000, 6, 32)
    seen = pooling.train()._seen(tokens)
    assert seen is not None
    assert seen[..., 0].all()
    assert seen[..., 1:].float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert pooling.eval()._seen(tokens) is None
    assert torch.equal(pooling(tokens[:2, :5]), pooling(tokens[:2, :5]))


def test_dropout_is_where_the_authors_have_it(pooling: BertPooling, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the positions, the attention, both layers of the MLP and the whole layer; and within the attention."""
    dropped, attended = [], []

    def dropout(x: torch.Tensor, share: float, training: bool) -> torch.Tensor:
        dropped.append((x.shape[-1], share, training))
        return x

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: object, share: float) -> torch.Tensor:
        attended.append(share)
        return q

    monkeypatch.setattr(torch.nn.functional, "dropout", dropout)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    pooling.train()(torch.randn(2, 5, 32))
    pooling.eval()(torch.randn(2, 5, 32))
    assert [width for width, _, _ in dropped] == 2 * [32, 32, 128, 32, 32]
    assert {(share, training) for _, share, training in dropped} == {(0.1, True), (0.1, False)}
    assert attended == [0.1, 0.0]


def test_dropout_before_the_classifier_is_that_of_the_authors() -> None:
    assert small().head.dropout == 0.8


def test_positions_fit_another_number_of_frames() -> None:
    model, longer = small(frames=4), small(frames=12)
    report = load_weights(longer, fill(model))
    assert longer.bert.positions.shape[1] == 7
    assert any("from 2 to 6" in note for note in report.notes)
    torch.testing.assert_close(longer.bert.positions[:, [0, 1, 6]], model.bert.positions)


@pytest.mark.parametrize("frames", [4, 10])
def test_other_frames_than_built_for_are_refused(frames: int) -> None:
    with pytest.raises(UsageError, match=f"clips of 8 frames and got {frames}"):
        small()(clips(frames))


def test_any_size() -> None:
    with torch.no_grad():
        assert small(frames=3)(torch.randn(1, 3, 3, 33, 70)).shape == (1, 8)
