"""What a stage trains with: the model's own way of reading clips, unless the run asks for another."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import kinelite as kl
from kinelite import recipes
from kinelite.config import ClipConfig, NetConfig, Stage, TrainConfig
from kinelite.data.sets import load_set
from kinelite.errors import UsageError
from kinelite.models import card, create_model, save_weights
from kinelite.train import build
from kinelite.train.build import build_model, check_stages, stage_spec
from kinelite.train.device import place
from kinelite.train.fabric import make_fabric
from kinelite.train.part import build_part
from kinelite.types import InputSpec

SPARSE = InputSpec(16, 64, sampling="sparse", stride=4, fit="squash")
DENSE = InputSpec(32, 224, sampling="dense", stride=2, fit="crop")
ASKED = {"sampling": ("sparse", "dense"), "stride": (1, 7), "fit": ("squash", "crop")}


@pytest.mark.parametrize("own", [SPARSE, DENSE])
def test_a_run_that_asks_for_nothing_takes_the_models_own(own: InputSpec) -> None:
    assert stage_spec(TrainConfig(), own) == own


@pytest.mark.parametrize("own", [SPARSE, DENSE])
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ASKED.items() for value in values])
def test_what_a_run_asks_for_wins_and_the_rest_stays(name: str, value: str | int, own: InputSpec) -> None:
    config = TrainConfig(clips=ClipConfig(**{name: value}))
    assert stage_spec(config, own) == replace(own, **{name: value})


def test_every_choice_of_clips_that_a_model_has_too_can_be_asked_for() -> None:
    """A field that both have and `stage_spec` does not carry over would be ignored in silence."""
    both = {field.name for field in fields(ClipConfig)} & set(asdict(SPARSE))
    assert both == set(ASKED)


@pytest.mark.parametrize("name", ["vivit_fe_nano", "vivit_fe_b"])
def test_the_choice_travels_with_the_model(name: str) -> None:
    config = TrainConfig(model=name, frames=4, net=NetConfig(tubelet=2))
    with torch.device("meta"):
        own, _ = build_model(config, Stage(frames=4), {"label": 3})
        asked, _ = build_model(replace(config, clips=ClipConfig(stride=5, fit="crop")), Stage(frames=4), {"label": 3})
    facts = card(name).spec
    assert (own.spec.sampling, own.spec.stride, own.spec.fit) == (facts.sampling, facts.stride, facts.fit)
    assert (asked.spec.sampling, asked.spec.stride, asked.spec.fit) == (facts.sampling, 5, "crop")


def test_sfa_of_a_model_without_its_parts_is_refused_before_anything_runs() -> None:
    config = recipes.sfa(model="x3d_xs", data="motion:80", frames=4, size=64)
    with pytest.raises(UsageError, match=r"'x3d_xs' has no such parts.*train lightweight.*vivit_fe_"):
        check_stages(config, load_set("motion:80"))


def test_init_takes_an_address_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(build, "load_weights", lambda _, source, **__: asked.append(source))
    config = TrainConfig(model="vivit_fe_nano", init="https://example.org/a/w.safetensors")
    build_model(config, Stage(frames=4), {"label": 3})
    assert asked == ["https://example.org/a/w.safetensors"]


def test_a_stage_can_start_from_the_pretrained_weights_again(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first: Any = create_model("vivit_fe_nano", num_classes=10, frames=4, size=32)
    save_weights(tmp_path / "w.safetensors", first)
    stages = (Stage("a"), Stage("b", init="pretrained"))
    config = TrainConfig(model="vivit_fe_nano", data="motion:80", frames=4, size=32, stages=stages, workers=0)
    config = replace(config, pretrained=str(tmp_path / "w.safetensors")).resolved()
    other = {name: torch.zeros_like(tensor) for name, tensor in first.state_dict().items()}
    built, said = build_part(config, load_set("motion:80"), make_fabric(place("cpu", "fp32")), 1, other)
    assert torch.equal(built.state()["head.label.weight"], first.state_dict()["head.label.weight"])
    assert "w.safetensors" in said


def test_the_input_of_the_weights_is_that_of_every_stage_and_of_the_result(tmp_path: Path) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.9, 0.8, 0.7)
    first = create_model("vivit_fe_nano", num_classes=10, frames=4, size=32)
    save_weights(tmp_path / "w.safetensors", first, {"spec": {"mean": mean, "std": std}})
    small: dict[str, Any] = {"data": "motion:80", "frames": 4, "size": 32, "epochs": 1, "device": "cpu", "workers": 0}
    weights = str(tmp_path / "w.safetensors")
    kl.train(recipes.lightweight(model="vivit_fe_nano", pretrained=weights, out=tmp_path / "run", **small))
    trained = kl.load(tmp_path / "run")
    assert (trained.spec.mean, trained.spec.std) == (mean, std)
    assert trained.model.spec == trained.spec
