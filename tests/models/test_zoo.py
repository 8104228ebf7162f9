"""What every registered model must do, whatever it is: nothing here names a model except to make it small."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from golden import fill
from torch import Tensor, nn

from kinelite.models import card, create_model, list_models, load_weights, save_weights
from kinelite.models.streaming import StreamingModel

HEADS = {"verb": 3, "noun": 2}
BIG = ("vivit_fe_b", "vivit_fe_l", "vivit_fe_h", "vivit_fe_g", "swin3d_s", "swin3d_b")
"""Too large to run in a test; of the same classes as vivit_fe_ti and swin3d_t. They are run on 'meta'."""
MODELS = [name for name in list_models() if name not in BIG]
# Of each family one in the quick suite; what `kinelite export` does with the thirteen is in tests/export.
FEW = ("movinet_a0_stream", "timesformer", "tea_r50", "x3d_xs", "vivit_fe_ti", "vtn_eff", "swin3d_t", "mvit_s")
EACH = [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]


def small(name: str, frames: int = 4, **options: Any) -> Any:
    """A model of 64 pixels and few frames, with weights under which nothing is zero."""
    torch.manual_seed(0)
    model = create_model(name, frames=frames, size=64, **(options or {"heads": HEADS}))
    fill(model)
    return model


def clips(model: Any, batch: int = 2, frames: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    size = model.spec.size
    return torch.randn(batch, 3, frames or model.spec.frames, size, size, generator=generator)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """The checks of tensor shapes in the test run are no part of the graph that users compile."""
    jaxtyping.config.update("jaxtyping_disable", True)
    torch.compiler.reset()
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def flat(logits: Any) -> Tensor:
    return torch.cat(list(logits.values()), dim=1) if isinstance(logits, dict) else logits


@pytest.mark.parametrize("name", MODELS)
def test_two_tasks_finite_logits_and_a_gradient_for_every_parameter(name: str) -> None:
    model = small(name).train()
    logits = model(clips(model))
    assert {task: tuple(value.shape) for task, value in logits.items()} == {"verb": (2, 3), "noun": (2, 2)}
    assert torch.isfinite(flat(logits)).all()
    flat(logits).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_head_of_features_is_forward_and_clips_do_not_see_each_other(name: str) -> None:
    model = small(name).eval()
    video = clips(model)
    with torch.no_grad():
        both, features = flat(model(video)), model.forward_features(video)
        torch.testing.assert_close(flat(model.head(features)), both)
        alone = torch.cat([flat(model(video[i : i + 1])) for i in range(2)])
    torch.testing.assert_close(alone, both, atol=1e-4, rtol=1e-4)
    assert not torch.equal(both[0], both[1])


@pytest.mark.parametrize("name", MODELS)
def test_another_number_of_frames(name: str) -> None:
    model = small(name, frames=8, num_classes=3).eval()
    with torch.no_grad():
        assert model(clips(model, batch=1)).shape == (1, 3)
    assert model.spec.frames == 8


@pytest.mark.parametrize("name", MODELS)
def test_saved_weights_make_the_same_model(name: str, tmp_path: Path) -> None:
    model = small(name, num_classes=3).eval()
    save_weights(tmp_path / "model.safetensors", model)
    other = create_model(name, frames=4, size=64, num_classes=3).eval()
    report = load_weights(other, tmp_path / "model.safetensors")
    assert report.new == ()
    with torch.no_grad():
        assert torch.equal(other(clips(model, batch=1)), model(clips(model, batch=1)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", EACH)
def test_the_whole_graph_is_captured(name: str) -> None:
    """With the eager backend: what fails here is a break of the graph. `test_compiled` is the slow test."""
    model = small(name, num_classes=3).eval()
    video = clips(model, batch=1)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(video), model(video))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", EACH)
def test_export_gives_a_program_for_any_number_of_clips(name: str) -> None:
    model = small(name, num_classes=3).eval()
    video, any_batch = clips(model), ({0: torch.export.Dim("batch", min=1, max=64)},)
    with torch.no_grad():
        program = torch.export.export(model, (video,), dynamic_shapes=any_batch, strict=False).module()
        for given in (video, video[:1], torch.cat([video, video[:1]])):
            torch.testing.assert_close(program(given), model(given), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", MODELS)
def test_compiled(name: str) -> None:
    model = small(name, num_classes=3).eval()
    video = clips(model, batch=1)
    with torch.no_grad():
        expected = model(video)
        found = torch.compile(model, fullgraph=True)(video)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.slow  # 50 s; the small models of their classes are in the quick suite
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", BIG)
def test_big_models_are_captured_whole(name: str) -> None:
    with torch.device("meta"):
        model: Any = create_model(name, frames=4, num_classes=3).eval()
        video = torch.empty(1, 3, 4, model.spec.size, model.spec.size)
    with torch.no_grad():
        assert torch.compile(model, fullgraph=True, backend="eager")(video).shape == (1, 3)


@pytest.mark.parametrize("name", list_models())
def test_backbone_is_part_of_the_model_and_not_all_of_it(name: str) -> None:
    with torch.device("meta"):
        model: Any = create_model(name, num_classes=3)
    inside = [n for n, _ in model.named_parameters() if model.in_backbone(n)]
    assert inside
    assert not any(n.startswith("head.") for n in inside)
    assert {n.split(".")[0] for n, _ in model.named_parameters()} >= {"encoder", "head"}


@pytest.mark.parametrize("name", list_models())
def test_card_is_complete(name: str) -> None:
    facts = card(name)
    assert facts.summary
    assert facts.paper
    assert facts.licence
    assert facts.params_m
    assert facts.gmacs
    assert facts.origin
    for release in facts.releases:
        assert release.address.startswith(("hf:", "https://"))
        assert release.classes
        assert release.licence
    assert len({release.name for release in facts.releases}) == len(facts.releases)


def is_streaming(name: str) -> bool:
    with torch.device("meta"):
        return isinstance(create_model(name), StreamingModel)


STREAMING = [name for name in MODELS if is_streaming(name)]


@pytest.mark.parametrize("name", STREAMING)
def test_frame_by_frame_ends_as_the_whole_clip(name: str) -> None:
    model = small(name, num_classes=3).eval()
    video, state = clips(model, batch=2, frames=6), None
    with torch.no_grad():
        for t in range(6):
            logits, state = model.step(video[:, :, t], state)
        torch.testing.assert_close(logits, model(video), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", STREAMING)
def test_state_is_a_fixed_tuple_of_4d_tensors_that_a_step_leaves_alone(name: str) -> None:
    model = small(name, num_classes=3).eval()
    frame, start = clips(model, batch=2)[:, :, 0], model.start(2)
    before = [tensor.clone() for tensor in start]
    with torch.no_grad():
        given, after = model.step(frame, start)
        fresh, _ = model.step(frame)
    assert all(tensor.ndim == 4 for tensor in after)
    assert [t.shape for t in after] == [t.shape for t in start]
    assert all(torch.equal(a, b) for a, b in zip(before, start, strict=True))
    assert torch.equal(given, fresh)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [each for name, each in zip(MODELS, EACH, strict=True) if name in STREAMING])
def test_a_step_exports(name: str) -> None:
    class Step(nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, frame: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            return self.model.step(frame, state)

    model = small(name, num_classes=3).eval()
    frame, state = clips(model, batch=1)[:, :, 0], model.start(1)
    with torch.no_grad():
        program = torch.export.export(Step(model), (frame, state), strict=False).module()
        logits, after = program(frame, state)
        expected, _ = model.step(frame, state)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert len(after) == len(state)
    assert math.isfinite(float(logits.sum()))
