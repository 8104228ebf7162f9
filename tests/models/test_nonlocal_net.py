"""Non-local ResNets against the authors of two codebases, and the checkpoints of three.

``tests/reference/nl_r50.safetensors``: logits of ``TSN(8, 4, 'RGB', base_model='resnet50', non_local=True)`` of
mit-han-lab/temporal-shift-module, unchanged, without shift. ``nl_r50_c2d.safetensors``: logits of PySlowFast's
``C2D_NLN_8x8_R50`` with 4 frames of 64 pixels and no softmax. Both have the weights of `golden.fill` for our names,
carried over by the layouts below, and the clips of seed 7. Commits are in the files. ``layouts/*.json``: names and
shapes of their state dicts; those of Caffe2 were checked against the converter in PySlowFast.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from golden import fill, weights_for
from safetensors.torch import load_file
from torch import Tensor

from kinelite.errors import UsageError
from kinelite.models import create_model, load_weights
from kinelite.models.checkpoints.nonlocal_net import CAFFE2, PYSLOWFAST
from kinelite.models.nonlocal_net import NonLocal

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
CHECKPOINTS = [("nl_r50", "nl_r50_tsm"), ("nl_r50_c2d", "nl_r50_pyslowfast"), ("nl_r50_caffe2", "nl_r50_caffe2")]


def clips(frames: int = 4, size: int = 64) -> Tensor:
    return torch.randn(2, 3, frames, size, size, generator=torch.Generator().manual_seed(7))


def published(layout: str) -> dict[str, Tensor]:
    """A checkpoint with the real names and shapes, filled by name."""
    shapes = json.loads((REFERENCE / "layouts" / f"{layout}.json").read_text())["shapes"]
    return {name: weights_for(name, tuple(shape)) for name, shape in shapes.items()}


def marks_of(state: dict[str, Tensor]) -> list[tuple[int, float, float]]:
    """First and last value of every tensor, whatever its name."""
    return sorted((t.numel(), float(t.flatten()[0]), float(t.flatten()[-1])) for t in state.values())


@pytest.mark.parametrize("name", ["nl_r50", "nl_r50_c2d"])
def test_logits_of_the_reference(name: str) -> None:
    model = create_model(name, num_classes=8, frames=4, size=64).eval()
    fill(model)
    with torch.no_grad():
        found = model(clips())
    torch.testing.assert_close(found, load_file(REFERENCE / f"{name}.safetensors")["logits"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["nl_r50", "nl_r50_c2d"])
def test_every_block_counts_and_looks_at_other_frames(name: str) -> None:
    model = create_model(name, num_classes=8, frames=4, size=64).eval()
    fill(model)
    video = clips()
    other = video.clone()
    other[:, :, 2:] += 1
    seen: dict[str, list[Tensor]] = {}
    for site, block in model.nonlocal_blocks.items():
        block.register_forward_hook(lambda _m, args, out, s=site: seen.setdefault(s, []).append(out - args[0]))
    with torch.no_grad():
        model(video), model(other)
    assert len(seen) == 5
    for before, after in seen.values():
        assert before.std() > 0.01
        assert not torch.allclose(before[0], after[0], atol=1e-4)


@pytest.mark.parametrize(("pool_first", "scaled"), [(False, False), (True, True)])
def test_block_is_the_formula(pool_first: bool, scaled: bool) -> None:
    """Softmax over all pooled positions of the clip, written out with matrices."""
    block = NonLocal(8, pool_first=pool_first, scaled=scaled).eval()
    fill(block)
    x = torch.randn(6, 8, 4, 5)
    with torch.no_grad():
        if pool_first:
            pooled = F.max_pool2d(x, 2)
            keys, values = block.phi(pooled), block.g(pooled)
        else:
            keys, values = F.max_pool2d(block.phi(x), 2), F.max_pool2d(block.g(x), 2)
        rows = [y.unflatten(0, (2, 3)).transpose(1, 2).flatten(2) for y in (block.theta(x), keys, values)]
        weights = (rows[0].transpose(1, 2) @ rows[1] * (0.5 if scaled else 1.0)).softmax(dim=-1)
        seen = (rows[2] @ weights.transpose(1, 2)).unflatten(2, (3, 4, 5)).transpose(1, 2).flatten(0, 1)
        torch.testing.assert_close(block(x, 2), x + block.norm(block.out(seen)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["nl_r50", "nl_r50_c2d"])
def test_starts_as_the_image_network_on_each_frame(name: str) -> None:
    image = timm.create_model("resnet50", num_classes=1000).eval()
    fill(image)
    model = create_model(name, frames=2, size=64).eval()
    report = load_weights(model, image.state_dict())
    still = clips(frames=1).expand(-1, -1, 2, -1, -1)
    with torch.no_grad():
        features = model.forward_features(still)
        expected = image.forward_head(image.forward_features(still[:, :, 0]), pre_logits=True)
    assert set(report.new) == {"nonlocal_blocks", "head"}
    mean = features if features.ndim == 2 else features.mean(dim=1)
    torch.testing.assert_close(mean, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "layout"), CHECKPOINTS)
def test_published_names_load_wholly(name: str, layout: str) -> None:
    model, state = create_model(name), published(layout)
    report = load_weights(model, state)
    assert report.new == ()
    trained = {n: t for n, t in state.items() if t.ndim and "momentum" not in n}
    assert marks_of(trained) == marks_of({n: t for n, t in model.state_dict().items() if t.ndim})
    assert model.spec.mean == ((0.45,) * 3 if layout != "nl_r50_tsm" else (0.485, 0.456, 0.406))


def test_blobs_of_caffe2_go_where_pyslowfast_puts_them() -> None:
    """The names of one file are listed in the order of the other, which has counters of batches besides."""
    theirs = [CAFFE2.renamed(n) for n in published("nl_r50_caffe2")]
    expected = [PYSLOWFAST.renamed(n) for n in published("nl_r50_pyslowfast") if not n.endswith("tracked")]
    assert theirs[: len(expected)] == expected


@pytest.mark.parametrize(("name", "layout"), CHECKPOINTS)
@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_damage_is_told(name: str, layout: str, damage: str) -> None:
    model, state = create_model(name), published(layout)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    victim = next(n for n in state if "theta" in n and n.endswith(("weight", "_w")))
    if damage == "missing":
        del state[victim]
    elif damage == "extra":
        state["surprise.weight"] = torch.zeros(2)
    else:
        state[victim] = state[victim][:-1]
    with pytest.raises(UsageError, match="surprise" if damage == "extra" else "theta"):
        load_weights(model, state)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_weights_of_a_tsm_are_refused() -> None:
    state = {n.replace("conv1.weight", "conv1.net.weight"): t for n, t in published("nl_r50_tsm").items()}
    with pytest.raises(UsageError, match="tsm_r50"):
        load_weights(create_model("nl_r50"), state)


def test_weights_of_another_variant_are_refused() -> None:
    with pytest.raises(UsageError, match="nl_r50_caffe2"):
        load_weights(create_model("nl_r50_c2d"), published("nl_r50_caffe2"))
    with pytest.raises(UsageError, match="layer2_1"):
        load_weights(create_model("nl_r50"), published("nl_r50_pyslowfast"))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("nl_r50", {"size": 16}, "Nearest: 17"),
        ("nl_r50_c2d", {"frames": 1}, "Nearest: 2"),
        ("nl_r50", {"frames": 0}, "1 or more"),
    ],
)
def test_what_it_cannot_take(name: str, options: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said), torch.device("meta"):
        create_model(name, **options)


def test_any_frames_and_sizes_from_the_smallest() -> None:
    model = create_model("nl_r50", num_classes=3).eval()
    halved = create_model("nl_r50_c2d", num_classes=3).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 1, 17, 40)).shape == (1, 3)
        assert halved(torch.randn(1, 3, 5, 33, 17)).shape == (1, 3)
        with pytest.raises(UsageError, match="got 16"):
            model(torch.randn(1, 3, 2, 16, 32))


@pytest.mark.parametrize(("name", "smallest"), [("nl_r50", 17), ("nl_r50_c2d", 17), ("nl_r50_caffe2", 21)])
def test_the_smallest_size_works_and_the_one_below_is_refused(name: str, smallest: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=3, frames=2, size=smallest).eval()
        assert model(torch.empty(1, 3, 2, smallest, smallest)).shape == (1, 3)
        with pytest.raises(UsageError, match=f"takes {smallest} x {smallest} pixels or more; got {smallest - 1}"):
            create_model(name, num_classes=3, frames=2, size=smallest - 1)
