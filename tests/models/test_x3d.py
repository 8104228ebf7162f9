"""X3D against PyTorchVideo and PySlowFast.

``x3d.safetensors`` was made by running both projects' X3D-XS on 4 frames of 48 pixels, unchanged, their parameters
filled with `golden.weights_for` of the name that our layout gives each; its metadata names the commits. The names and
shapes of the published checkpoints, below ``layouts``, are those of the same models built at 160 pixels.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden import fill, weights_for
from safetensors.torch import load_file
from torch import Tensor

from kinelite.errors import UsageError
from kinelite.models import card, create_model, load_weights
from kinelite.models.checkpoints.x3d import PYSLOWFAST, PYTORCHVIDEO
from kinelite.models.cost import describe

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
LAYOUTS = {"pytorchvideo": PYTORCHVIDEO, "pyslowfast": PYSLOWFAST}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(REFERENCE / "x3d.safetensors")


def checkpoint(project: str) -> dict[str, Tensor]:
    """Synthetic weights with the real names and shapes."""
    shapes = json.loads((REFERENCE / "layouts" / f"x3d_{project}.json").read_text())["shapes"]
    return {name: weights_for(LAYOUTS[project].renamed(name), shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("project", ["pytorchvideo", "pyslowfast"])
def test_gives_the_logits_of_the_public_code_with_its_checkpoint(project: str, golden: dict[str, Tensor]) -> None:
    model = create_model("x3d_xs", frames=4, size=48).eval()
    state = checkpoint(project)
    report = load_weights(model, state)
    assert report.new == ()
    assert f"names of {LAYOUTS[project].name}" in report.notes
    assert any("folded" in note for note in report.notes) == (project == "pyslowfast")
    with torch.no_grad():
        torch.testing.assert_close(model(golden["video"].float()), golden[project], atol=1e-4, rtol=1e-4)


def test_trains_as_the_public_code_does(golden: dict[str, Tensor]) -> None:
    """Batch statistics, what they leave behind, and gradients; in float64, because float32 is 2 % off in theirs too."""
    model = create_model("x3d_xs", frames=4, size=48)
    load_weights(model, checkpoint("pytorchvideo"))
    model.double().head.dropout = 0.0
    logits = model(golden["video"].double())
    torch.testing.assert_close(logits.float(), golden["training"], atol=1e-5, rtol=1e-5)
    (logits * torch.linspace(-1, 1, 400, dtype=torch.float64)).sum().backward()
    moved = model.encoder.stages[2][4].depthwise_norm.running_var
    torch.testing.assert_close(moved.float(), golden["moved"], atol=1e-6, rtol=1e-6)
    ours = {
        "space": model.encoder.stem.space.weight,
        "time": model.encoder.stem.time.weight,
        "depthwise": model.encoder.stages[1][0].depthwise.weight,
    }
    for name, weight in ours.items():
        torch.testing.assert_close(weight.grad.float(), golden[f"gradient_{name}"], atol=1e-4, rtol=1e-5)


def test_gradients_are_the_same_where_the_norms_stand_still() -> None:
    """Evaluation folds each norm into the kernel before it; the gradients must not notice."""
    folded = create_model("x3d_xs", num_classes=5, frames=3, size=32).eval()
    fill(folded)
    plain = create_model("x3d_xs", num_classes=5, frames=3, size=32).eval()
    fill(plain)
    for module in plain.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.training = True
            module.forward = _standing_still(module)
    video = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    expected, result = plain(video), folded(video)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)
    expected.square().sum().backward()
    result.square().sum().backward()
    for (name, a), (_, b) in zip(folded.named_parameters(), plain.named_parameters(), strict=True):
        assert a.grad is not None, name
        assert b.grad is not None, name
        assert (a.grad - b.grad).norm() <= 1e-3 * b.grad.norm() + 1e-6, name


def _standing_still(norm: torch.nn.BatchNorm3d):
    return lambda x: torch.nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


@pytest.mark.parametrize("name", ["x3d_xs", "x3d_s", "x3d_m", "x3d_l"])
def test_cost_is_on_the_card(name: str) -> None:
    facts, described = card(name), describe(name)
    assert described["params_m"] == pytest.approx(facts.params_m, rel=1e-6)
    assert described["gmacs"] == pytest.approx(facts.gmacs, rel=1e-3)


def test_scores_tell_the_crops_of_the_configs() -> None:
    """PySlowFast, configs/Kinetics/X3D_*.yaml: one crop is of the training size, three are larger."""
    told = {name: [score.protocol.split(", ")[2] for score in card(name).scores] for name in ("x3d_xs", "x3d_l")}
    assert told == {"x3d_xs": ["182 pixels", "182 pixels", "160 pixels"], "x3d_l": 2 * ["356 pixels"] + ["312 pixels"]}


def test_the_first_norm_of_pyslowfast_is_folded_exactly() -> None:
    """With variances as small as its epsilon, which the logits of other weights do not show."""
    state = {name: tensor.double() for name, tensor in checkpoint("pyslowfast").items()}
    norm = "s2.pathway0_res0.branch1_bn."
    state[f"{norm}running_var"] = torch.linspace(0, 1e-4, 24, dtype=torch.float64)
    kernel, bias = state["s2.pathway0_res0.branch1.weight"].flatten(1), state["s2.pathway0_res0.branch2.c_bn.bias"]
    model = create_model("x3d_xs", frames=4, size=48).double()
    load_weights(model, state)
    x = torch.randn(5, 24, dtype=torch.float64)
    parts = (state[f"{norm}{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    wanted = torch.nn.functional.batch_norm(x @ kernel.T, *parts, eps=1e-5) + bias
    first = model.encoder.stages[0][0]
    torch.testing.assert_close(x @ first.shortcut.weight.T + first.project_norm.bias, wanted)


@pytest.mark.parametrize(("frames", "size"), [(1, 33), (2, 32), (5, 40), (1, 1)])
def test_takes_any_frames_and_size(frames: int, size: int) -> None:
    model = create_model("x3d_xs", heads={"verb": 3, "noun": 4}, frames=frames, size=size).eval()
    with torch.no_grad():
        logits = model(torch.randn(2, 3, frames, size, size))
    assert {task: tuple(value.shape) for task, value in logits.items()} == {"verb": (2, 3), "noun": (2, 4)}


def test_a_batch_is_its_clips() -> None:
    model = create_model("x3d_xs", num_classes=6, frames=4, size=40).eval()
    fill(model)
    video = torch.randn(3, 3, 4, 40, 40, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        alone = torch.cat([model(clip[None]) for clip in video])
        torch.testing.assert_close(model(video), alone, atol=1e-5, rtol=1e-5)


def test_start_is_the_shortcut_of_every_block() -> None:
    model = create_model("x3d_xs", num_classes=3, frames=2, size=32)
    assert all(not block.project_norm.weight.any() for stage in model.encoder.stages for block in stage)
    model(torch.randn(2, 3, 2, 32, 32)).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("project", ["pytorchvideo", "pyslowfast"])
def test_another_number_of_classes_leaves_the_classifier_new(project: str) -> None:
    model = create_model("x3d_xs", num_classes=7)
    report = load_weights(model, checkpoint(project))
    assert report.new == ("head",)
    assert (model.spec.mean, model.spec.std) == ((0.45,) * 3, (0.225,) * 3)


@pytest.mark.parametrize("project", ["pytorchvideo", "pyslowfast"])
def test_damaged_checkpoints_are_told(project: str) -> None:
    model, whole = create_model("x3d_xs"), checkpoint(project)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    third = next(n for n in whole if n.endswith(("2.conv_b.weight", "2.b.weight")))
    damage = {
        "in the model but not in the file": {k: v for k, v in whole.items() if k != third},
        "in the file but not in the model": whole | {third.replace("b.weight", "q.weight"): whole[third]},
        "of another shape": whole | {third: whole[third][:5]},
    }
    for said, state in damage.items():
        with pytest.raises(UsageError, match=said):
            load_weights(model, state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_pyslowfast_without_one_statistic_of_the_first_shortcut_is_refused() -> None:
    state = checkpoint("pyslowfast")
    del state["s2.pathway0_res0.branch1_bn.running_mean"]
    with pytest.raises(UsageError, match="in the file but not in the model"):
        load_weights(create_model("x3d_xs"), state)
