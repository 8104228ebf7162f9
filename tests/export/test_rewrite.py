"""The graph that is handed to a runtime gives what the model gives, with nothing in it that runtimes lack."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from kinelite.bench.case import LIGHTWEIGHT
from kinelite.export import FORMATS, find
from kinelite.export.fold import fold_constants, fold_norms
from kinelite.export.graph import value, write_down
from kinelite.export.half import halved, in_single
from kinelite.export.layout import lay_out
from kinelite.export.rewrite import rewritten

TOLERANCE = 1e-4


def operators(graph: fx.GraphModule) -> Counter[str]:
    return Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_function")


def difference(graph: nn.Module, model: nn.Module, video: torch.Tensor) -> float:
    with torch.no_grad():
        wanted: Any = model(video)
        return float((graph(video)[0] - wanted).abs().max() / wanted.abs().max())


QUICK = ("i3d_bert", "swin3d_t", "tsm_r50", "vivit_fe_s", "x3d_xs")
"""Every kind of operator is in one of them; the others are written down by `make test-slow`."""
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LIGHTWEIGHT]
AXES = 5


@pytest.fixture(scope="module")
def written(built):
    """A model, a video and the rewritten graph, made once for all tests."""
    made: dict[str, Any] = {}

    def write(name: str) -> tuple[nn.Module, torch.Tensor, fx.GraphModule]:
        if name not in made:
            model, video = built(name)
            made[name] = (model, video, rewritten(model, (video,), AXES))
        return made[name]

    return write


@pytest.mark.parametrize("name", EACH)
def test_every_model_of_the_lightweight_paper_is_itself_without_volumes(built, written, name):
    weights = built(name)[0].state_dict()
    model, video, graph = written(name)
    assert difference(graph, model, video) < TOLERANCE
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[key]), f"{key} of the model was changed"
    found = operators(graph)
    assert not [name for name in found if "3d" in name or "batch_norm" in name or "roll" in name], found
    for node in graph.graph.nodes:
        if str(node.target) == "aten.permute.default":
            assert len(node.args[1]) <= AXES


@pytest.mark.parametrize("name", ["movinet_a0", *(pytest.param(n, marks=pytest.mark.slow) for n in QUICK)])
def test_several_clips_at_once(built, name):
    model, video = built(name, batch=3)
    assert difference(rewritten(model, (video,)), model, video) < TOLERANCE


def test_rearrangements_cancel(written):
    """X3D is written with more than two hundred permutations; one, of the video itself, is needed."""
    assert operators(written("x3d_xs")[2])["aten.permute.default"] == 1


def test_norms_are_part_of_the_convolutions(written):
    model, _, graph = written("i3d_bert")
    found = operators(graph)
    convolutions = sum(isinstance(module, nn.Conv3d) for module in model.modules())
    assert found["aten.conv2d.default"] == convolutions
    assert found["aten.mul.Tensor"] + found["aten.batch_norm.default"] < 8


class Net(nn.Module):
    """A function as a model."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(4)
        self.norm.running_mean = torch.rand(4)
        self.norm.running_var = torch.rand(4) + 0.5
        self.conv = nn.Conv3d(4, 6, 3, 2, 1)
        self.act = act

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return self.act(self, video)


@pytest.mark.parametrize(
    "act",
    [
        lambda net, x: net.conv(net.norm(x)).mean((2, 3, 4)),
        lambda net, x: x.permute(0, 2, 3, 4, 1).reshape(-1, 5, 4).transpose(1, 2).flatten(1).add(1).view(2, -1),
        lambda net, x: (x.transpose(1, 2) * torch.arange(4.0)[:, None, None] + x[:, :1].transpose(1, 2)).flatten(1),
        lambda net, x: torch.cat([x.transpose(1, 2), x.transpose(1, 2)[:, :1]], 1).transpose(1, 2).flatten(1),
        lambda net, x: torch.cat([x.transpose(1, 2), 2 * x.transpose(1, 2)], 2)[:, ::2].flatten(1),
        lambda net, x: F.pad(x.permute(0, 2, 1, 3, 4), (1, 2, 0, 0, 0, 0, 1, 0), value=3.0).flatten(1),
        lambda net, x: (x.flatten(2).transpose(1, 2) + x.flatten(2).transpose(1, 2).mean(1, keepdim=True)).flatten(1),
        lambda net, x: x.clone().mul_(2).add_(x).relu_().roll([1, -2], [2, 3]).flatten(1),
        lambda net, x: (x.permute(4, 3, 2, 1, 0).reshape(5, 5, -1) / (1 + x[0, 0, 0].abs())[:, :, None]).view(2, -1),
    ],
)
@pytest.mark.parametrize("axes", [4, 8])
def test_what_models_may_do_with_axes(act, axes):
    torch.manual_seed(0)
    net, video = Net(act).eval(), torch.randn(2, 4, 3, 5, 5)
    graph = rewritten(net, (video,), axes)
    torch.testing.assert_close(graph(video)[0], net(video), rtol=1e-4, atol=1e-5)
    assert all(value(node) is not None for node in graph.graph.nodes if node.op == "call_function")


def test_writing_into_parts_of_a_tensor_is_left_to_pytorch():
    def act(net, x):
        made = torch.zeros_like(x)
        made[:, :, 1:] = x[:, :, :-1]
        return made.flatten(1)

    net, video = Net(act).eval(), torch.randn(1, 4, 3, 5, 5)
    torch.testing.assert_close(rewritten(net, (video,))(video)[0], net(video))


def test_a_constant_that_grows_is_made_when_it_is_needed():
    table = torch.randn(300)
    net, video = Net(lambda net, x: x.flatten(1)[:, :1] + (table[:, None] + table)[None].flatten(1)).eval(), None
    video = torch.randn(1, 4, 3, 5, 5)
    graph = write_down(net, (video,))
    fold_constants(graph)
    fold_norms(graph)
    lay_out(graph)
    assert max(tensor.numel() for tensor in graph.state_dict().values()) == 300
    torch.testing.assert_close(graph(video)[0], net(video))


def test_half_precision_takes_and_gives_single(built):
    model, video = built("vivit_fe_nano")
    graph = rewritten(model, (video,))
    halved(graph)
    assert {tensor.dtype for tensor in graph.state_dict().values() if tensor.is_floating_point()} == {torch.float16}
    with torch.no_grad():
        logits = graph(video)[0]
        wanted: Any = model(video)
    assert logits.dtype == torch.float32
    assert 1e-7 < (logits - wanted).abs().max() / wanted.abs().max() < 2e-2


def test_operators_of_a_halved_graph_compute_in_single_precision(built):
    model, video = built("vivit_fe_nano")
    graph = rewritten(model, (video,))
    halved(graph)
    with torch.no_grad():
        before = graph(video)[0]
        in_single(graph, (torch.ops.aten.layer_norm.default,))
        norms = [node for node in graph.graph.nodes if node.target is torch.ops.aten.layer_norm.default]
        assert norms
        assert all(node.meta["val"].dtype == torch.float32 for norm in norms for node in [norm, *norm.all_input_nodes])
        torch.testing.assert_close(graph(video)[0], before, rtol=2e-2, atol=2e-3)


def test_casts_of_the_model_itself_become_half_too():
    class Casts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = self.linear(x).to(torch.float32).softmax(-1, dtype=torch.float32)
            return torch.bmm(scores.flatten(0, 2), self.linear(x).flatten(0, 2).transpose(1, 2))

    model, video = Casts().eval(), torch.randn(1, 3, 2, 6, 6)
    graph = rewritten(model, (video,))
    halved(graph)
    (found,) = graph(video)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, model(video), rtol=1e-2, atol=1e-2)


def test_formats_are_files_of_the_room():
    for name in FORMATS:
        assert find(name).PRECISIONS[0] == "fp32"
