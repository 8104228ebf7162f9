"""Parts over time by name: contract, gradients, order, positions of another length, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import fill
from torch import Tensor, nn

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import Adapter, create_model, load_weights
from kinelite.models.temporal.parts import TEMPORAL, Sizes, build_temporal
from kinelite.models.temporal.probe import AttentiveProbe

SIZES = Sizes(features=48, width=24, heads=3, layers=2, tubelets=6, mlp_width=40)
MODELS = {"vivit_fe_nano": 4, "vtn_eff": 1}


def part(name: str) -> Any:
    made = build_temporal(NetConfig(temporal=name), SIZES)
    fill(made)
    return made


def reversal(made: nn.Module) -> float:
    features = torch.randn(3, 6, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return (made(features) - made(features.flip(1))).abs().max().item()


@pytest.mark.parametrize("name", TEMPORAL)
def test_features_of_any_length_become_one_vector_and_every_parameter_learns(name: str) -> None:
    made = part(name)
    vector = made(torch.randn(3, 6, 48))
    assert vector.shape == (3, made.width)
    assert made.width == (48 if name == "mean" else 24)
    vector.square().sum().backward()
    assert [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_all_but_the_mean_see_the_order_of_tubelets() -> None:
    seen = {name: reversal(part(name)) for name in TEMPORAL}
    assert seen["transformer"] > 0.01
    assert seen["probe"] > 0.01
    assert seen["mean"] < 1e-6


def test_the_mean_is_that_of_the_normalised_features_in_any_number() -> None:
    made = part("mean")
    assert [name for name, _ in made.named_parameters()] == ["norm.weight", "norm.bias"]
    features = torch.randn(2, 11, 48)
    normal = (features - features.mean(2, keepdim=True)) / (features.var(2, unbiased=False, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(made(features), (normal * made.norm.weight + made.norm.bias).mean(1))


def independent_probe(probe: Any, features: Tensor) -> Tensor:
    """The probe's function from its weights by torch's own attention, with a query matrix of one."""
    width = probe.width
    tokens = probe.norm_features(probe.project(features)) + probe.positions
    attention = nn.MultiheadAttention(width, probe.heads, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([torch.eye(width), probe.keys.weight, probe.values.weight]))
        attention.in_proj_bias.copy_(torch.cat([torch.zeros(2 * width), probe.values.bias]))
        attention.out_proj.weight.copy_(torch.eye(width))
        attention.out_proj.bias.zero_()
    query = probe.query.expand(len(features), -1, -1)
    query = query + attention(query, tokens, tokens)[0]
    return probe.norm(query + probe.mlp(probe.norm_query(query)))[:, 0]


def test_the_probe_is_an_attention_of_one_learned_query() -> None:
    probe, features = part("probe"), torch.randn(3, 6, 48)
    assert isinstance(probe, AttentiveProbe)
    torch.testing.assert_close(probe(features), independent_probe(probe, features), atol=1e-5, rtol=1e-5)


def test_the_probe_starts_close_to_a_mean() -> None:
    torch.manual_seed(0)
    probe: Any = build_temporal(NetConfig(temporal="probe"), SIZES)
    features = torch.randn(2, 6, 48)
    with torch.no_grad():
        tokens = probe.norm_features(probe.project(features)) + probe.positions
        mean = probe.query + probe.values(tokens.mean(1, keepdim=True))
        expected = probe.norm(mean + probe.mlp(probe.norm_query(mean)))[:, 0]
        assert (probe(features) - expected).abs().max() < 0.1 * expected.std()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", TEMPORAL)
def test_models_train_with_each_part_and_the_adapter(model: str, name: str) -> None:
    options = {"num_classes": 5, "frames": 4 * MODELS[model], "size": 32, "net": NetConfig(temporal=name)}
    made: Any = create_model(model, **options)
    made.add_adapter()
    assert isinstance(made.adapter, Adapter)
    features = made.encode(torch.randn(2, 3, options["frames"], 32, 32)).detach()
    assert features.shape == (2, 4, made.width)
    made.classify(features).square().sum().backward()
    stage_2 = [n for n, p in made.named_parameters() if not n.startswith("encoder.") and p.grad is None]
    assert stage_2 == []


@pytest.mark.parametrize("name", TEMPORAL)
def test_weights_of_fewer_frames_fit(name: str) -> None:
    """As between the stages of SFA."""
    net = NetConfig(temporal=name)
    short: Any = create_model("vivit_fe_nano", num_classes=5, frames=8, size=32, net=net)
    long: Any = create_model("vivit_fe_nano", num_classes=5, frames=32, size=32, net=net)
    notes = load_weights(long, short.state_dict()).notes
    assert ("temporal positions interpolated from 2 to 8 tubelets" in notes) == (name != "mean")
    if name != "mean":
        torch.testing.assert_close(long.temporal.positions[:, -1], short.temporal.positions[:, -1])


def test_weights_of_another_part_are_told() -> None:
    given = create_model("vivit_fe_nano", num_classes=5, size=32).state_dict()
    with pytest.raises(UsageError, match=r"temporal\.query"):
        load_weights(create_model("vivit_fe_nano", num_classes=5, size=32, net=NetConfig(temporal="probe")), given)


@pytest.mark.parametrize(
    ("model", "net", "said"),
    [
        ("vivit_fe_nano", NetConfig(temporal="mean", temporal_layers=2), "mean has no layers"),
        ("vtn_eff", NetConfig(temporal="probe", temporal_layers=2), "probe has no layers"),
        ("vtn_eff", NetConfig(temporal="probe", drop_path=0.1), "net.drop_path needs net.temporal transformer"),
        ("x3d_xs", NetConfig(temporal="mean"), "no net.temporal"),
        ("timesformer", NetConfig(temporal="mean"), "no net.temporal"),
    ],
)
def test_what_does_not_go_together_is_refused(model: str, net: NetConfig, said: str) -> None:
    with pytest.raises(UsageError, match=said), torch.device("meta"):
        create_model(model, net=net)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("temporal", "prob", "one of transformer, probe, mean; got 'prob'"),
        ("pool", "max", "one of token, mean, both; got 'max'"),
        ("inflate", "middle", "one of central, average; got 'middle'"),
    ],
)
def test_unknown_words_that_come_from_python_are_told(field: str, value: str, said: str) -> None:
    net = NetConfig()
    # Past the check of types, which only tests make.
    object.__setattr__(net, field, value)
    with pytest.raises(UsageError, match=said), torch.device("meta"):
        create_model("vivit_fe_nano", net=net)
