"""MODEL@WEIGHTS: published weights label clips and are scored, with class names where somebody gives them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import create_model, registry
from kinelite.models.checkpoints.hub import Found
from kinelite.models.registry import Release
from kinelite.models.weights import save_weights
from kinelite.train import published
from kinelite.train.published import class_names, names_published
from kinelite.train.trained import load_trained
from kinelite.types import InputSpec


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """movinet_a0 with 7 classes under our names."""
    torch.manual_seed(0)
    save_file(create_model("movinet_a0", num_classes=7).state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.fixture
def release(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """A release of movinet_a0 that is this file."""
    made = Release("k7", str(weights), "seven, as written", "MIT", spec={"frames": 5, "sampling": "dense"})
    facts, build = registry._find("movinet_a0")
    monkeypatch.setitem(registry._MODELS, "movinet_a0", (replace(facts, releases=(made,)), build))
    return made


def test_a_release_is_a_trained_model_at_its_own_input(release: Release) -> None:
    with pytest.warns(UserWarning, match="does not name its 7 classes; they are numbers, numbered as in: seven"):
        trained = load_trained("movinet_a0@k7")
    assert (trained.name, trained.spec.frames, trained.spec.sampling) == ("movinet_a0", 5, "dense")
    assert trained.tasks == {"label": tuple("0123456")}
    assert not trained.model.training
    torch.manual_seed(0)
    assert torch.equal(trained.model.state_dict()["encoder.stem.conv.weight"], first_kernel())


def first_kernel() -> torch.Tensor:
    return create_model("movinet_a0", num_classes=7).state_dict()["encoder.stem.conv.weight"]


def test_a_file_of_a_model_and_what_is_wrong_with_a_name(weights: Path) -> None:
    with pytest.warns(UserWarning, match="they are numbers"):
        assert len(load_trained(f"movinet_a0@{weights}").tasks["label"]) == 7
    with pytest.raises(UsageError, match=r"Unknown model 'movinet_a'\. Nearest: movinet_a"):
        load_trained("movinet_a@k600")
    with pytest.raises(UsageError, match=r"Unknown weights 'k60'\. Nearest: k600"):
        load_trained("movinet_a0@k60")


def test_weights_without_a_classifier_cannot_label(tmp_path: Path) -> None:
    state = create_model("movinet_a0", num_classes=7).state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith("head.")}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"holds no classifier.*--pretrained"):
        load_trained(f"movinet_a0@{tmp_path / 'w.safetensors'}")


def test_names_of_runs_and_files_are_not_taken_for_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert names_published("swin3d_t@k400")
    assert names_published("vivit_fe:deit_tiny_patch16_224@w.pth")
    for name in ("runs/mine", "hf:owner/net@v1/w.pth", "mine@home"):
        Path("mine@home").mkdir(exist_ok=True)
        assert not names_published(name)


def test_class_names_of_the_hub_and_of_kinetics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "hub_config", lambda _: {"id2label": {"0": "wave", "1": "clap"}})
    assert class_names(Found(Path("w"), "w"), "hf:owner/net", 2) == ("wave", "clap")
    with pytest.warns(UserWarning, match="they are numbers"):
        assert class_names(Found(Path("w"), "w"), "hf:owner/net", 3) == ("0", "1", "2")
    kinetics = Release("k400", "https://example.org/w.pth", "kinetics400, alphabetical", "MIT")
    names = class_names(Found(Path("w"), "w", kinetics), "k400", 400)
    assert (names[0], names[399], len(set(names))) == ("abseiling", "zumba", 400)
    assert list(names) == sorted(names)


@pytest.mark.filterwarnings("always:.*does not name its 7 classes")
def test_clips_are_labelled_from_the_command_line(release: Release, clip_folder: Path, capsys: Any) -> None:
    from kinelite.cli import main

    clip = str(clip_folder / "moves_down" / "0.mp4")
    assert main(["predict", "movinet_a0@k7", clip, "--device", "cpu", "--top", "3"]) == 0
    read = capsys.readouterr()
    assert "does not name its 7 classes" in read.err
    assert "1 of 1 clips labelled" in read.out


def test_a_file_of_kinelite_train_is_read_as_it_was_trained(tmp_path: Path) -> None:
    spec = InputSpec(4, 32, (0.1, 0.2, 0.3), (0.9, 0.8, 0.7), "dense", 3, "crop")
    header = {"model": "vivit_fe_nano", "net": {}, "spec": asdict(spec), "tasks": {"verb": ["a", "b"], "noun": ["c"]}}
    model: Any = create_model("vivit_fe_nano", heads={"verb": 2, "noun": 1}, frames=4, size=32)
    save_weights(tmp_path / "w.safetensors", model, header)
    trained = load_trained(f"vivit_fe_nano@{tmp_path / 'w.safetensors'}")
    assert trained.model.spec == spec
    assert (trained.spec, trained.tasks) == (spec, {"verb": ("a", "b"), "noun": ("c",)})
    with pytest.raises(UsageError, match=r"is of the model vivit_fe_nano, not movinet_a0"):
        load_trained(f"movinet_a0@{tmp_path / 'w.safetensors'}")
    for wrong in ({"tasks": ["a"]}, {"tasks": {"verb": 3}}, {"model": 3}, {"spec": asdict(spec) | {"stride": 0}}):
        save_weights(tmp_path / "w.safetensors", model, header | wrong)
        with pytest.raises(UsageError, match=r"The header of .*w\.safetensors is damaged"):
            load_trained(tmp_path / "w.safetensors")


def test_a_release_says_what_it_is_built_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = {r.name: r.net.get("temporal_layers", 4) for r in registry.card("vivit_fe_l").releases}
    assert layers == {"k400": 24, "k600": 24, "epic100": 4}
    heads = {"noun": 3, "verb": 2}
    facts, build = registry._find("vivit_fe_nano")
    deep: Any = create_model("vivit_fe_nano", heads=heads, net=NetConfig(temporal_layers=5))
    save_file(deep.state_dict(), tmp_path / "w.safetensors")
    made = Release("deep", str(tmp_path / "w.safetensors"), "x", "MIT", net={"temporal_layers": 5}, heads=heads)
    monkeypatch.setitem(registry._MODELS, "vivit_fe_nano", (replace(facts, releases=(made,)), build))
    with pytest.warns(UserWarning, match="they are numbers"):
        trained = load_trained("vivit_fe_nano@deep")
    assert trained.tasks == {"noun": ("0", "1", "2"), "verb": ("0", "1")}
    assert len(trained.model.temporal.blocks) == 5  # type: ignore[union-attr]


def test_hub_is_the_first_release_or_a_sentence(release: Release) -> None:
    with pytest.warns(UserWarning, match="they are numbers"):
        assert load_trained("movinet_a0@hub").spec.frames == 5
    with pytest.raises(UsageError, match=r"image weights.*swin3d_t@k400"):
        load_trained("swin3d_t@hub")
    with pytest.raises(UsageError, match=r"image weights.*kinelite train lightweight"):
        load_trained("tea_r50@hub")


def test_weights_of_another_model_are_told_by_what_does_not_fit(weights: Path) -> None:
    with pytest.raises(UsageError, match="do not fit this model"):
        load_trained(f"vivit_fe_nano@{weights}")


def test_class_names_that_are_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "hub_config", lambda _: {"id2label": ["wave"]})
    with pytest.warns(UserWarning, match="they are numbers"):
        assert class_names(Found(Path("w"), "w"), "hf:owner/net", 1) == ("0",)
