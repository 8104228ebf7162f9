"""MViT against torchvision in one process, and against PySlowFast and PyTorchVideo by stored logits.

``tests/reference/mvit.safetensors`` holds the logits of both projects (revisions in the metadata) for the weights of
`golden.fill`: 3 blocks, 4 frames of 32 pixels; PySlowFast without the softmax of its head. The files
``tests/reference/layouts/mvit_b_*.json`` hold their names and shapes of MViT-B, from their own constructors.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import fill, weights_for
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models.video import mvit_v1_b
from torchvision.models.video.mvit import MViT

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import create_model, load_weights
from kinelite.models.head import Head
from kinelite.models.mvit import MultiscaleTransformer, PooledTransformer, blocks_of
from kinelite.types import InputSpec

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
STEM: Any = {
    "patch_embed_kernel": (3, 7, 7),
    "patch_embed_stride": (2, 4, 4),
    "patch_embed_padding": (1, 3, 3),
}
BLOCKS = blocks_of([16, 32, 32, 32], [1, 2, 2], [4, 2, 2], (1,))


def small() -> MultiscaleTransformer:
    encoder = PooledTransformer(BLOCKS, (2, 8, 8), STEM, 0.0)
    return MultiscaleTransformer(encoder=encoder, head=Head(32, {"label": 5}), spec=InputSpec(4, 32)).eval()


def on_meta(name: str = "mvit_b", **options: Any) -> Any:
    with torch.device("meta"):
        return create_model(name, **options)


def shapes(project: str) -> dict[str, Tensor]:
    named = json.loads((REFERENCE / "layouts" / f"mvit_b_{project}.json").read_text())["shapes"]
    return {name: torch.empty(shape, device="meta") for name, shape in named.items()}


def slowfast_name(name: str) -> str:
    name = name.removeprefix("encoder.").replace("head.label.", "head.projection.")
    name = name.replace("conv_proj.", "patch_embed.proj.").replace("pos_encoding.class_token", "cls_token")
    name = re.sub(r"pos_encoding\.(\w+)_pos", r"pos_embed_\1", name)
    name = re.sub(r"pool_([qkv])\.pool\.", r"pool_\1.", name)
    name = re.sub(r"pool_([qkv])\.norm_act\.0\.", r"norm_\1.", name)
    name = name.replace(".attn.project.0.", ".attn.proj.").replace(".project.", ".proj.")
    return name.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")


def as_slowfast(state: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs = {slowfast_name(name): tensor for name, tensor in state.items()}
    for name in ("cls_token", "pos_embed_class"):
        theirs[name] = theirs[name].reshape(1, 1, -1)
    for name in ("pos_embed_spatial", "pos_embed_temporal"):
        theirs[name] = theirs[name].unsqueeze(0)
    return theirs


def as_pytorchvideo(state: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs: dict[str, Tensor] = {}
    for name, tensor in as_slowfast(state).items():
        name = name.replace("patch_embed.proj.", "patch_embed.patch_model.").replace("head.projection.", "head.proj.")
        name = re.sub(
            r"^(cls_token|pos_embed_)", r"cls_positional_encoding.\1", re.sub(r"^norm\.", "norm_embed.", name)
        )
        if ".qkv." in name:
            theirs |= {name.replace(".qkv.", f".{p}."): third for p, third in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            theirs[name] = tensor
        if "attn.pool_k.weight" in name:
            theirs[name.replace("pool_k.weight", "_attention_pool_k.pool.weight")] = tensor
    return theirs


@pytest.mark.parametrize(("project", "rename"), [("PySlowFast", as_slowfast), ("PyTorchVideo", as_pytorchvideo)])
def test_logits_of_other_projects_through_their_names(project: str, rename: Any) -> None:
    model, state = small(), fill(small())
    report = load_weights(model, rename(state))
    assert (report.loaded, report.new) == (len(state), ())
    assert f"names of {project}" in report.notes
    assert model.spec.std == (0.225, 0.225, 0.225)
    with torch.no_grad():
        found = model(torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0)))
    expected = load_file(REFERENCE / "mvit.safetensors")[project.lower()]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found[0] - found[1]).abs().max() > 0.1


@pytest.mark.parametrize("name", ["mvit_s", "mvit_b"])
def test_logits_and_gradients_of_torchvision(name: str) -> None:
    ours: Any = create_model(name, num_classes=5, frames=4, size=64).eval()
    small_stem = name == "mvit_s"
    stem = dict(zip(STEM, ((3, 8, 8), (2, 8, 8), (1, 0, 0)), strict=True)) if small_stem else STEM
    theirs = MViT(
        (64, 64), 4, settings(name), False, False, False, False, num_classes=5, **stem
    ).eval()  # fmt: skip
    state = {k: weights_for(k, v.shape) for k, v in theirs.state_dict().items()}
    theirs.load_state_dict(state)
    report = load_weights(ours, state)
    assert (report.loaded, report.new) == (len(state), ())
    video = torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    found, expected = ours(video), theirs(video)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    found.sum().backward()
    expected.sum().backward()
    gradients = {k.removeprefix("encoder.").replace("head.label", "head.1"): p.grad for k, p in ours.named_parameters()}
    for parameter_name, parameter in theirs.named_parameters():
        scale = float(parameter.grad.abs().max())
        torch.testing.assert_close(gradients[parameter_name], parameter.grad, atol=1e-3 * scale + 1e-5, rtol=0)


def settings(name: str) -> Any:
    """Channels going in (and out of the last), heads, strides of keys, and which blocks have fewer queries."""
    if name == "mvit_s":
        widths, heads = [128] * 3 + [256] * 7 + [512] * 7, [1] * 3 + [2] * 7 + [4] * 6
        return blocks_of(widths, heads, [4] * 3 + [2] * 7 + [1] * 6, (3, 10))
    widths, heads = [96, 192, 192] + [384] * 11 + [768] * 3, [1, 2, 2] + [4] * 11 + [8] * 2
    return blocks_of(widths, heads, [8, 4, 4] + [2] * 11 + [1] * 2, (1, 3, 14))


def test_mvit_b_is_torchvisions_preset() -> None:
    """Names, shapes, strides, kernels and stochastic depth; its checkpoint loads whole."""
    with torch.device("meta"):
        theirs = mvit_v1_b()
    ours = on_meta()
    state = theirs.state_dict()
    report = load_weights(ours, state)
    assert (report.loaded, report.new) == (len(state), ())
    for a, b in zip(ours.encoder.blocks, theirs.blocks, strict=True):
        assert a.stochastic_depth.p == b.stochastic_depth.p
        assert a.attn.num_heads == b.attn.num_heads
        for pool in ("pool_q", "pool_k", "pool_v"):
            assert repr(getattr(a.attn, pool)) == repr(getattr(b.attn, pool))
        assert repr(a.pool_skip) == repr(b.pool_skip)


@pytest.mark.parametrize("project", ["pyslowfast", "pytorchvideo"])
def test_published_checkpoints_of_full_size_load_whole(project: str) -> None:
    report = load_weights(on_meta(), shapes(project))
    assert (report.loaded, report.new) == (len(on_meta().state_dict()), ())
    longer = load_weights(on_meta(frames=32), shapes(project))
    assert "positions in time interpolated from 8 to 16 steps" in longer.notes


@pytest.mark.parametrize("project", ["pyslowfast", "pytorchvideo"])
def test_damaged_checkpoints_are_refused_with_what_differs(project: str) -> None:
    state, name = shapes(project), "blocks.7.attn.norm_k.weight"
    for damaged, said in (
        ({k: v for k, v in state.items() if k != name}, "1 in the model but not in the file"),
        (state | {"blocks.16.norm1.bias": torch.empty(768, device="meta")}, "1 in the file but not"),
        (state | {name: state[name][:-1]}, "1 of another shape"),
        (state | {"blocks.3.attn.rel_pos_h": torch.empty(55, 96, device="meta")}, "1 in the file but not"),
    ):
        with pytest.raises(UsageError, match=said):
            load_weights(on_meta(), damaged)


def test_positions_are_interpolated_linearly() -> None:
    first, second = small(), MultiscaleTransformer(
        encoder=PooledTransformer(BLOCKS, (4, 4, 4), STEM, 0.0), head=Head(32, {"label": 5}), spec=InputSpec(8, 16)
    )  # fmt: skip
    positions = first.encoder.pos_encoding
    with torch.no_grad():
        rows = torch.arange(8.0)
        positions.spatial_pos.copy_((10 * rows[:, None] + rows).reshape(64, 1).expand(-1, 16))
        positions.temporal_pos.copy_(torch.tensor([[0.0], [4.0]]).expand(-1, 16))
    notes = load_weights(second, first.state_dict()).notes
    assert len(notes) == 2
    fewer = second.encoder.pos_encoding
    middle = 2 * torch.arange(4.0) + 0.5
    expected = (10 * middle[:, None] + middle).flatten()
    torch.testing.assert_close(fewer.spatial_pos[:, 3].detach(), expected)
    torch.testing.assert_close(fewer.temporal_pos[:, 0].detach(), torch.tensor([0.0, 1.0, 3.0, 4.0]))


@pytest.mark.parametrize(("frames", "size"), [(1, 8), (5, 40), (7, 24)])
def test_any_frames_and_any_multiple_of_a_patch(frames: int, size: int) -> None:
    model: Any = create_model("mvit_s", num_classes=3, frames=frames, size=size).eval()
    with torch.no_grad():
        assert torch.isfinite(model(torch.randn(1, 3, frames, size, size))).all()


def test_what_cannot_be_taken_is_refused_with_what_can() -> None:
    with pytest.raises(UsageError, match="Nearest: 56 or 64"):
        create_model("mvit_s", size=60)
    with pytest.raises(UsageError, match="Nearest: 4"):
        create_model("mvit_b", size=3)
    with pytest.raises(UsageError, match=r"it takes net\.drop_path, net\.dropout"):
        create_model("mvit_b", net=NetConfig(tubelet=2))
    with pytest.raises(UsageError, match="built for 4 frames of 32 x 32 pixels and got 8 of 32 x 32"):
        small()(torch.zeros(1, 3, 8, 32, 32))
